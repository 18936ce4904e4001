-- Keep a score of a query, once per name: a second one replaces it and keeps its time.
--
-- id: text
-- owner: text            '' for any
-- asker: text            owner and user; '' where no user is named
-- name: text
-- score: text            a JSON object
-- tenths: text           ten times its value; '' where it is no number
-- ttl: whole             seconds
-- patience: whole        seconds for which it may wait for somebody who sends it to Langfuse
--
--> kept(score: text)      JSON
--> unknown                it is not the asker's
local state, holder, named, flow = unpack(redis.call('HMGET', record_key(id), 'state', 'owner', 'asker', 'flow'))
if not state or not belongs(holder, named, owner, asker) then return reply.unknown() end

local key = scores_key(id)
local before = redis.call('HGET', key, name)
local now = now_ms()
local at, old = now, nil
if before then
  local known = cjson.decode(before)
  at, old, flow = known.at, known.tenths, known.flow
end
local kept = cjson.decode(score)
kept.at, kept.tenths, kept.flow = at, tonumber(tenths) or cjson.null, flow or '(none)'
kept = cjson.encode(kept)
redis.call('HSET', key, name, kept)
redis.call('EXPIRE', key, ttl)

-- The flow's rating in the hour in which it was first given.
local was = type(old) == 'number'
if name == 'rating' and (was or tenths ~= '') then
  local hour, of = hour_of(at), flow or '(none)'
  redis.call('HINCRBY', hour, 's|' .. of, (tonumber(tenths) or 0) - (was and old or 0))
  redis.call('HINCRBY', hour, 'n|' .. of, (tenths ~= '' and 1 or 0) - (was and 1 or 0))
  redis.call('EXPIRE', hour, TALLY_KEPT)
end
redis.call('ZADD', UNSENT_SCORES, now, id .. '\n' .. name)
redis.call('ZREMRANGEBYSCORE', UNSENT_SCORES, '-inf', now - patience * 1000)
return reply.kept(kept)
