-- Give up an execution's lease and put the execution off: its call failed in a way that may pass.
--
-- id: text
-- part: text
-- fence: text
-- lease: text
-- flow: text
-- queue: text            base queue in whose delayed set it waits
-- place: text            where it comes back
-- delay_ms: whole
-- event: text            what readers of the stream are told, as JSON
-- throttled_ms: whole    for how long the flow asked not to be called
-- server: text           where the flow is
-- at_once: whole         calls of that server at once, of all its flows
-- heard: text            what the call says of its server: up, down, or '' for nothing
-- counted: flag          whether the attempt is used up; one that is not has not reached its flow
--
--> deferred
--> late                   another execution has the lease now: nothing was put off
--> gone                   the query has ended, or asks a person
local now = now_ms()
local me = execution(id, part)
if not give_back(lease, flow, server, me, fence, heard, now) then return reply.late() end
call_failed(flow, throttled_ms, now)
pump(server, at_once, now)
local key = record_key(id)
if is_over(id, part) then return reply.gone() end
if not counted then
  redis.call('HINCRBY', key, attempts_field(part), -1)
  forget_call(key, fence)
end
show(id, part, STEP.deferred)
emit(id, EVENT.retrying, event)
delay(id, part, queue, place, now + delay_ms)
return reply.deferred()
