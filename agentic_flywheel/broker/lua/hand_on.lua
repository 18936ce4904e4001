-- Put an execution off for another worker: this one lacks what it asks for, or its version is older.
--
-- id: text
-- part: text
-- flow: text             '' where it has none yet
-- stage: text            what its message is for
-- reason: text           registry or version
-- version: whole         what a worker must have at least
-- queue: text            base queue in whose delayed set it waits
-- place: text            where it comes back
-- patience_ms: whole     for how long it may wait while nobody who could serve it lives
-- names: texts           one of them a worker must have: `flow`, `domain`, `intent` or `profile`, and its name; where several
--                        things are needed together, a line each; none for any
--
--> waits
--> unserved               for so long no living worker could have served it: the caller ends it
--> gone                   the query, or this part of it, has ended, gone on or asks a person
--> unknown                there is no record
local now = now_ms()
local key = record_key(id)
local me = execution(id, part)
local state, at_stage = unpack(redis.call('HMGET', key, 'state', 'stage'))
if not state then return reply.unknown() end
if TERMINAL[state] then promote(me) return reply.gone() end
-- Another delivery of the same message was served meanwhile, or is.
if stage == STAGE.classify and at_stage or asks(id, part)
  or part ~= '' and redis.call('HEXISTS', parts_key(id), part) == 1 then
  return reply.gone()
end
local till = flow ~= '' and redis.call('ZSCORE', running_key(flow), me)
local runs = till and tonumber(till) > now

local offered_at, served = served_place(place, version, names)
local unserved_ms, first = unserved(id, part, runs or served, now)
if unserved_ms >= patience_ms then return reply.unserved() end
if not runs then wait_for_worker(id, part, reason) end
offer_later(id, part, queue, offered_at, first, unserved_ms, patience_ms, now)
return reply.waits()
