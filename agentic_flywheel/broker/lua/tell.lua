-- Append what a flow tells while it runs to a query's stream; whoever is attached to the query reads it there.
--
-- id: text
-- part: text
-- fence: text
-- lease: text
-- kinds: texts           of events: `TOLD_BY_FLOW` in `models.py`
-- data: texts            of each, JSON
--
--> written
--> late                   another execution has the lease now: nothing was written
local me = execution(id, part)
if not has_lease(redis.call('GET', lease_key(lease)), me, fence) then return reply.late() end
-- Those attached to a query that has ended itself still read it.
for i, kind in ipairs(kinds) do emit(id, kind, data[i]) end
return reply.written()
