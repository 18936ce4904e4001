-- Keep a message beside its queue until the flow may be called again; put it back at once where it may be already.
--
-- id: text
-- part: text
-- flow: text
-- domain: text
-- reason: text           paused, rate, circuit or concurrency
-- rank: whole            of the priority, the most urgent first
-- place: text            where it comes back
-- concurrency: whole
-- rate: number
-- server: text           where the flow is
-- at_once: whole         calls of that server at once, of all its flows
--
--> parked
--> gone                   the query has ended, or asks a person
if is_over(id, part) then return reply.gone() end
local now = now_ms()
if part == '' then
  redis.call('HSET', record_key(id), STEP.parked(reason))
  emit(id, EVENT.waiting, cjson.encode({reason = reason}))
end
leave_place(id, part)  -- another delivery of it was put there
local least = rank * RANK
local score = its_turn(id, parked_key(flow), least, '(' .. least + RANK, least + now)
redis.call('ZADD', parked_key(flow), score, execution(id, part) .. '\n' .. place)
redis.call('HSET', PARKED_FLOWS, flow, limits(domain, concurrency, rate, server))
redis.call('HSET', record_key(id), mover_field(part), 'p\n' .. flow .. '\n' .. string.format('%.0f', score))
pump(server, at_once, now)
return reply.parked()
