-- Give up an execution that its worker hands back: the next delivery may begin at once, and the attempt is not counted.
--
-- id: text
-- part: text
-- fence: text
-- lease: text
-- flow: text
-- server: text           where the flow is
-- at_once: whole         calls of that server at once, of all its flows
--
--> released
--> late                   another execution has the lease now
local now = now_ms()
local me = execution(id, part)
if not give_back(lease, flow, server, me, fence, '', now) then return reply.late() end
local state = redis.call('HGET', record_key(id), 'state')
if not state or TERMINAL[state] then
  promote(me)
else
  redis.call('HINCRBY', record_key(id), attempts_field(part), -1)
end
pump(server, at_once, now)
return reply.released()
