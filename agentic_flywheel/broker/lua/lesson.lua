-- Keep what a query taught about routing, once per query and kind: the latest word counts. The oldest give way.
--
-- id: text
-- owner: text            '' for any
-- asker: text            owner and user; '' where no user is named
-- shelf: text
-- kind: text
-- told: text             what is told, a JSON object
-- most: whole            most lessons on the shelf
-- ttl: whole             seconds
--
--> kept
--> unknown                it is not the asker's
--> private                asked under a domain profile: what is learned ends in a registry that all may read
--> long                   too long for an example
local holder, named, query, flow, route = unpack(redis.call('HMGET', record_key(id), 'owner', 'asker', 'query', 'flow',
  'route'))
if not holder or not query or not belongs(holder, named, owner, asker) then return reply.unknown() end
local asked = cjson.decode(query)
if asked.profile then return reply.private() end
if #asked.question > 4000 then return reply.long() end

-- Of the query and its route no more than learning reads.
local lesson = cjson.decode(told)
lesson.query_id, lesson.owner, lesson.at, lesson.flow = id, named or holder, now_ms(), flow or ''
lesson.query = cjson.encode({question = asked.question, session_id = asked.session_id})
if route then
  local whole = cjson.decode(route)
  lesson.route = cjson.encode({targets = whole.targets, decision = whole.decision, band = whole.band,
    novel = whole.novel})
end
local lessons, times = lessons_key(shelf), lesson_times_key(shelf)
local member = kind .. ':' .. id
redis.call('HSET', lessons, member, cjson.encode(lesson))
redis.call('ZADD', times, lesson.at, member)

local gone = redis.call('ZRANGEBYSCORE', times, '-inf', lesson.at - ttl * 1000, 'LIMIT', 0, 500)
local over = redis.call('ZCARD', times) - #gone - most
if over > 0 then
  for _, each in ipairs(redis.call('ZRANGE', times, #gone, #gone + math.min(over, 500) - 1)) do gone[#gone + 1] = each end
end
if #gone > 0 then
  redis.call('ZREM', times, unpack(gone))
  redis.call('HDEL', lessons, unpack(gone))
end
redis.call('EXPIRE', lessons, ttl)
redis.call('EXPIRE', times, ttl)
return reply.kept()
