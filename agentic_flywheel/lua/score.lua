-- Keep a score of a query, once per name: a second one replaces it and keeps its time.
-- ARGV: id, owner ('' for any), name, score (JSON object), tenths of its value ('' where it is no number), ttl in
-- seconds, and for how many it may wait for somebody who knows Langfuse's keys and sends it on.
-- Returns {'unknown'} where it is not the owner's | {'kept', score (JSON)}.
local id, owner, name, score, tenths, ttl, patience = unpack(ARGV)
local state, holder, flow = unpack(redis.call('HMGET', record(id), 'state', 'owner', 'flow'))
if not state or (owner ~= '' and holder ~= owner) then return {'unknown'} end

local key = P .. 'scores:' .. id
local before = redis.call('HGET', key, name)
local at, old = now_ms(), nil
if before then
  local known = cjson.decode(before)
  at, old = known.at, known.tenths
  flow = known.flow
end
local kept = '{"at":' .. string.format('%.0f', at) .. ',"tenths":' .. (tenths ~= '' and tenths or 'null') ..
  ',"flow":' .. cjson.encode(flow or '(none)') .. ',' .. string.sub(score, 2)
redis.call('HSET', key, name, kept)
redis.call('EXPIRE', key, ttl)
redis.call('ZADD', P .. 'scored', at, id)
redis.call('ZREMRANGEBYSCORE', P .. 'scored', '-inf', now_ms() - ttl * 1000)

-- The flow's rating in the hour in which it was first given.
local was = type(old) == 'number'
if name == 'rating' and (was or tenths ~= '') then
  local hour, of = hour_of(at), flow or '(none)'
  redis.call('HINCRBY', hour, 's|' .. of, (tonumber(tenths) or 0) - (was and old or 0))
  redis.call('HINCRBY', hour, 'n|' .. of, (tenths ~= '' and 1 or 0) - (was and 1 or 0))
  redis.call('EXPIRE', hour, TALLY_KEPT)
end
redis.call('ZADD', P .. 'unsent', now_ms(), id .. '\n' .. name)
redis.call('ZREMRANGEBYSCORE', P .. 'unsent', '-inf', now_ms() - patience * 1000)
return {'kept', kept}
