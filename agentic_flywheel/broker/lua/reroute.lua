-- Send an execution to another flow: its own one is down, or gave up, and names a fallback.
--
-- id: text
-- part: text
-- fence: text            '0' where its flow was not called: there is no lease
-- lease: text
-- flow: text
-- domain: text
-- transient: flag        whether the failure counts for the flow's circuit
-- server: text           where the flow is
-- at_once: whole         calls of that server at once, of all its flows
-- heard: text            what the call says of its server: up, down, or '' for nothing
-- fallback: text
-- fallback_domain: text
-- place: text            where it waits for the fallback
-- event: text            what readers of the stream are told, as JSON
-- error_type: text       class of the error
-- gave_up: text          where the fallback's answer reaches fewer people: the error as JSON, and its Celery form; else ''
--
--> rerouted
--> late                   another execution has the lease now: nothing was sent
--> gone                   the query has ended, or asks a person
local me = execution(id, part)
local now = now_ms()
if fence ~= NO_FENCE then
  if not give_back(lease, flow, server, me, fence, heard, now) then return reply.late() end
  if transient then call_failed(flow, 0, now) end
  pump(server, at_once, now)
end
local key = record_key(id)
if is_over(id, part) then return reply.gone() end
if part == '' then
  move_domain(id, redis.call('HGET', key, 'domain'), fallback_domain)
  redis.call('HSETNX', key, 'asked_flow', flow)
  redis.call('HSET', key, STEP.rerouted, 'flow', fallback, 'domain', fallback_domain, 'attempts', 0)
else
  redis.call('HDEL', key, attempts_field(part))
  redis.call('HSET', key, 'flow|' .. part, fallback)
end
count(flow, 'fallbacks')
tally_one(hour_of(now), 'e|' .. flow .. '|' .. error_type)
emit(id, EVENT.retrying, event)
if gave_up ~= '' then
  -- Those attached were to share the answer of the flow that failed. They share its failure, and ask the fallback themselves.
  local lesson = {gave_up_field(flow), gave_up}
  if part ~= '' then disband(me, nil, lesson) end
  disband(id, redis.call('HGET', key, 'front'), lesson)
end
redis.call('HSET', key, mover_field(part), enqueue(me, place))
return reply.rerouted()
