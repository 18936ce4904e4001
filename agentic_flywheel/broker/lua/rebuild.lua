-- Give an execution that has lost its mover another one, unless it has one by now, or was given too many.
-- What is rebuilt has waited: its message goes to the end of the queue that is taken from. Its attempt is given back.
--
-- id: text
-- part: text
-- mover: text            what its record named when it was found lost
-- place: text            where it comes back
-- most: whole            rebuilds of one execution
--
--> rebuilt
--> lined_up               it waits behind an earlier turn of its session again
--> moved                  something, or a person, moves it by now, or it has ended
--> exhausted              it was rebuilt too often; the caller ends it
local key = record_key(id)
local state, at = unpack(redis.call('HMGET', key, 'state', mover_field(part)))
if not state or TERMINAL[state] or (at or '') ~= mover or asks(id, part) then return reply.moved() end
if redis.call('HINCRBY', key, 'rebuilt|' .. part, 1) > most then return reply.exhausted() end
local kind, waits_at = string.match(mover, '^(%a)\n([^\n]*)')
if kind == 'h' then
  local line = line_key(waits_at)
  if not redis.call('LPOS', line, id, 'MAXLEN', 1000) then redis.call('RPUSH', line, id) end
  local head = redis.call('LINDEX', line, 0)
  if head ~= id then
    redis.call('HSET', waiting_turns_key(waits_at), id, place)
    local before = redis.call('HGET', record_key(head), 'state')
    if not before or TERMINAL[before] then next_turn(waits_at, head) end
    return reply.lined_up()
  end
  redis.call('HDEL', waiting_turns_key(waits_at), id)
elseif kind == 'f' then
  redis.call('HDEL', followers_key(waits_at), execution(id, part))
else
  have_swept(kind, waits_at)  -- a message that nobody swept goes back too, and is found to be an earlier one
end
local attempts = attempts_field(part)
if kind == 'q' and tonumber(redis.call('HGET', key, attempts) or 0) > 0 then redis.call('HINCRBY', key, attempts, -1) end
local fields = {mover_field(part), enqueue_next(execution(id, part), place)}
if part == '' then
  local stage = redis.call('HGET', key, 'stage')
  redis.call('HSET', key, STEP.rebuilt(stage and STATE.queued or STATE.pending))
  redis.call('HDEL', key, 'attached_to')
end
redis.call('HSET', key, unpack(fields))
return reply.rebuilt()
