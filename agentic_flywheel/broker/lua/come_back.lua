-- Deliver an execution's message once more after a pause: another delivery of it runs, or its lease is another's now.
--
-- id: text
-- part: text
-- queue: text            base queue in whose delayed set it waits
-- place: text            where it comes back
-- delay_ms: whole
--
--> waits
--> gone                   the query has ended, or asks a person
if is_over(id, part) then return reply.gone() end
delay(id, part, queue, place, now_ms() + delay_ms)
return reply.waits()
