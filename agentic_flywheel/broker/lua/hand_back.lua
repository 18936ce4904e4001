-- Put the message of a later version back: out of this worker's hands, unread, for a worker that can read it. A query that
-- has ended may still have one, for what follows it.
--
-- id: text               its query
-- part: text
-- delivery: text         the tag under which the worker has it
-- version: whole         what a worker must have at least
-- queue: text            base queue in whose delayed set it waits
-- place: text            where it comes back
-- patience_ms: whole     for how long it may wait while nobody of this version lives
--
--> waits
--> taken                  another worker has it by now
--> unserved(open: whole)  nobody of this version was there for so long: it is among the unreadable messages; 1: its query
-->                        is open, and the caller ends it
--> asks                   it waits for a person, so another delivery was served: the message is dropped
--> unknown                there is no record: it is among the unreadable messages
local now = now_ms()
local _, _, message = read_place(place)
redis.call('ZREM', UNACKED_INDEX, delivery)
if redis.call('HDEL', UNACKED, delivery) == 0 then return reply.taken() end

local state = redis.call('HGET', record_key(id), 'state')
if not state then
  set_aside(message)
  return reply.unknown()
end
if asks(id, part) then return reply.asks() end
local offered_at, served = served_place(place, version, {})
local unserved_ms, first = unserved(id, part, served, now)
if unserved_ms >= patience_ms then
  set_aside(message)
  return reply.unserved(TERMINAL[state] and 0 or 1)
end
if not TERMINAL[state] then wait_for_worker(id, part, REASON.version) end
offer_later(id, part, queue, offered_at, first, unserved_ms, patience_ms, now)
return reply.waits()
