-- Record a query that a plain Celery client sent to `flywheel.classify`, so that it is one like any other.
--
-- id: text
-- owner: text
-- asker: text            owner and user; '' where no user is named
-- query: text            the query as JSON
-- place: text            where it comes back when its turn in its session comes
-- minute_most: whole     queries of the owner within a minute; 0 for no limit, as for the next three
-- open_most: whole       queries of the owner under way
-- bytes_most: whole      bytes of them
-- day_most: whole        calls of flows for the owner in a day
-- weight: whole          turns of the owner for each of another one's
-- deadline: text         milliseconds since 1970, '' for none
-- due: text              milliseconds since 1970 before which it does not go on; '' for at once
-- continuation: text     the place of the message that carries on after its end; '' where nothing follows
-- ttl: whole             seconds that record, events and result are kept after the end
-- priority: text
-- session: text          its name; '' for none
-- life: text             random, for a session that begins
-- session_ttl: whole     seconds
-- turns: whole           most turns that a session keeps
--
--> adopted                the caller goes on with it
--> waits                  it waits: for an earlier turn of its session, or until it is due
--> over                   its deadline had passed before; it has ended as expired
--> exists                 this id was accepted before
--> asks(query_id: text)   recorded, but the turn before, this query, waits for a person: the caller ends it
--> limited(name: text, most: whole, value: whole, wait_ms: whole)  recorded, but beyond a limit: the caller ends it
local now = now_ms()
local key = record_key(id)
local early = due ~= '' and tonumber(due) > now
if redis.call('EXISTS', key) == 1 then
  if early then return reply.waits() end
  return reply.exists()
end
local name, most, value, wait_ms = over_minute(owner, minute_most, now)
if not name then
  name, most, value, wait_ms = over_under_way(owner, open_most, bytes_most, #query, CLASSIFY_QUEUE, now)
end
redis.call('HSET', key, STEP.accepted, 'v', VERSION, 'owner', owner, 'query', query, 'created', now, 'ttl', ttl,
  'priority', priority, 'plain', 1)
if continuation ~= '' then redis.call('HSET', key, 'continuation', continuation) end
if asker ~= '' then redis.call('HSET', key, 'asker', asker) end
own_query(id, owner, asker, ttl, now)
redis.call('ZADD', OPEN, now + FIRST_LOOK_MS, id)
if weight > 1 then redis.call('HSET', key, 'weight', weight) end
if day_most > 0 then redis.call('HSET', key, 'day_most', day_most) end
local counts = take_up(id, owner, open_most, bytes_most, #query)
if counts then redis.call('HSET', key, 'bytes', counts) end
if name then return reply.limited(name, most, value, wait_ms) end
if deadline ~= '' then
  redis.call('HSET', key, 'deadline', deadline)
  redis.call('ZADD', DEADLINES, deadline, id)
  if tonumber(deadline) <= now then
    finalise(id, STATE.expired, {reason = 'its message waited'}, now)
    redis.call('RPUSH', UNTRACED, id)
    return reply.over()
  end
end
if early then
  delay(id, '', CLASSIFY_QUEUE, place, tonumber(due))
  return reply.waits()
end
if session == '' then return reply.adopted() end
local head = redis.call('LINDEX', line_key(session), 0)
if head and redis.call('ZSCORE', ASKED, head) then return reply.asks(head) end
join_session(id, asker == '' and owner or asker, session, life, session_ttl, turns, now)
if not stand_in_line(id, session) then return reply.adopted() end
line_up(id, session, place)
return reply.waits()
