-- Put an execution aside until a person has decided: its flow has stopped. Those that wait for its call go on by themselves.
--
-- id: text
-- part: text             of a renewal: it is given up, since nobody could be asked
-- fence: text
-- lease: text
-- flow: text
-- asked: text            what is asked, as JSON
-- run: text              chat, flow's id and server of the run that has stopped, a space between
-- place: text            where it comes back
-- kept_ms: whole         for how long it may wait
-- most: whole            queries that may wait for a person
-- server: text           where the flow is
-- at_once: whole         calls of that server at once, of all its flows
-- queue: text            whose completions are counted
--
--> stopped
--> full                   too many wait for a person: nothing was put aside, and its lease is kept
--> late                   another execution has the lease now: nothing was put aside
--> gone                   the query has ended, or this was a renewal
local now = now_ms()
local key = record_key(id)
local me = execution(id, part)
-- The reply of an earlier call was lost.
if redis.call('HGET', key, 'fence' .. (part == '' and '' or '|' .. part)) == fence and asks(id, part) then
  return reply.stopped()
end
if not renewal(part) and not redis.call('ZSCORE', ASKED, id) and redis.call('ZCARD', ASKED) >= most
  and drop_removed_asking() == 0 then
  return reply.full()
end
if not give_back(lease, flow, server, me, fence, HEARD.up, now, {circuit_key(flow)}) then return reply.late() end
pump(server, at_once, now)
drained(queue, now)
local front, deadline = unpack(redis.call('HMGET', key, 'front', 'deadline'))
local lesson = {'unshared', 1}
if me ~= id then disband(me, nil, lesson) end
if not renewal(part) then disband(id, front, lesson) end
if renewal(part) or is_over(id, part) then return reply.gone() end
local till = now + kept_ms
if deadline then till = math.min(till, tonumber(deadline)) end
local number = redis.call('HINCRBY', key, 'stops', 1)
local span = string.format('%.0f\n%.0f', now, till)
redis.call('HSET', key, STEP.asked, asks_field(part), number .. '\n' .. span .. '\n' .. asked .. '\n' .. place,
  mover_field(part), 'a\n' .. number .. '\n' .. string.format('%.0f', till), run_field(part), run)
redis.call('HDEL', key, part == '' and 'decided' or 'decided|' .. part)
put_aside(id, till, now)
-- The record forgets it with the decision; who follows the query, or comes later, still reads it here.
emit(id, EVENT.input_required, cjson.encode({
  stop = number, part = part, since = string.format('%.0f', now), ['until'] = string.format('%.0f', till), asked = asked,
}))
publish(done_channel(string.sub(id, 1, 8)), id)
return reply.stopped()
