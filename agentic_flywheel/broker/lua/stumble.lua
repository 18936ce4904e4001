-- Note that a task met a fault that nobody foresaw, and let it come back after 1, 4, 16 ... seconds.
--
-- id: text
-- part: text
-- queue: text            base queue in whose delayed set it waits
-- place: text            where it comes back
-- most: whole            faults of one execution that are borne
--
--> again
--> exhausted              it met too many: the caller ends it
--> gone                   the query has ended, or asks a person
--> unknown                there is no record
local key = record_key(id)
local state = redis.call('HGET', key, 'state')
if not state then return reply.unknown() end
if TERMINAL[state] then promote(execution(id, part)) return reply.gone() end
if asks(id, part) then return reply.gone() end
local faults = redis.call('HINCRBY', key, 'faults|' .. part, 1)
if faults > most then return reply.exhausted() end
delay(id, part, queue, place, now_ms() + 1000 * 4 ^ (faults - 1))
return reply.again()
