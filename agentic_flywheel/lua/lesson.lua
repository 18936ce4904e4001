-- Keep what a query taught about routing, once per query and kind: the latest word counts. The oldest give way.
-- ARGV: id, owner ('' for any), shelf, kind, what is told (JSON object), the most that are kept, ttl in seconds.
-- Returns {'unknown'} where it is not the owner's | {'kept'} | {'private'} under a domain profile: what is
-- learned ends in a registry that all read | {'long'}: no example of anything.
local id, owner, shelf, kind, told, most, ttl = unpack(ARGV)
local holder, query, flow, route = unpack(redis.call('HMGET', record(id), 'owner', 'query', 'flow', 'route'))
if not holder or not query or (owner ~= '' and holder ~= owner) then return {'unknown'} end
local asked = cjson.decode(query)
if asked.profile then return {'private'} end
if #asked.question > 4000 then return {'long'} end

-- Of the query and its route no more than learning reads.
local known = {query_id = id, owner = holder, at = now_ms(), flow = flow or '',
  query = cjson.encode({question = asked.question, session_id = asked.session_id})}
if route then
  local whole = cjson.decode(route)
  known.route = cjson.encode({targets = whole.targets, decision = whole.decision, band = whole.band, novel = whole.novel})
end
local lessons, times = P .. 'lessons:' .. shelf, P .. 'lessons:' .. shelf .. ':at'
local member = kind .. ':' .. id
redis.call('HSET', lessons, member, string.sub(told, 1, -2) .. ',' .. string.sub(cjson.encode(known), 2))
redis.call('ZADD', times, known.at, member)

local gone = redis.call('ZRANGEBYSCORE', times, '-inf', known.at - ttl * 1000, 'LIMIT', 0, 500)
local over = redis.call('ZCARD', times) - #gone - tonumber(most)
if over > 0 then
  for _, each in ipairs(redis.call('ZRANGE', times, #gone, #gone + math.min(over, 500) - 1)) do gone[#gone + 1] = each end
end
if #gone > 0 then
  redis.call('ZREM', times, unpack(gone))
  redis.call('HDEL', lessons, unpack(gone))
end
redis.call('EXPIRE', lessons, ttl)
redis.call('EXPIRE', times, ttl)
return {'kept'}
