-- Wait for an identical call under way instead of making a second one.
--
-- id: text
-- part: text
-- flow: text
-- lease: text
-- place: text            where it comes back
--
--> attached
--> again                  the leader has ended meanwhile: begin again
--> gone                   the query has ended, or asks a person
if is_over(id, part) then return reply.gone() end
local me = execution(id, part)
local leaseholder = redis.call('GET', lease_key(lease))
if not leaseholder then return reply.again() end
local leader = string.match(leaseholder, '^(.-)#')
if leader == me or has_ended(leader) then return reply.again() end
count(flow, 'attached')
attach(me, leader, place)
return reply.attached()
