-- Carry out a person's decision: the execution that asked goes back into its queue. A decision is taken once.
--
-- id: text
-- owner: text
-- asker: text            owner and user; '' where no user is named
-- number: whole          of the stop
-- decision: text         proceed or reject
-- feedback: text         what the person says; '' for nothing
-- names: texts           one of them a worker must have to go on with it, as `hand_on` is told them; none for any
--
--> resumed
--> already                this very decision was taken before
--> decided(decision: text) another decision was taken before
--> never                  it has no stop of this number, or has ended
--> unserved               workers live, and none of them knows one of these names: it waits on, nothing was decided
--> unknown                there is no record, or it is another asker's
local key = record_key(id)
local holder, named, state, before = unpack(redis.call('HMGET', key, 'owner', 'asker', 'state', 'decision|' .. number))
if not state or not belongs(holder, named, owner, asker) then return reply.unknown() end
local said = decision .. '\n' .. feedback
if before == said then return reply.already() end
if before then return reply.decided(string.match(before, '^[^\n]*')) end
local now = now_ms()
local found, left
for _, field in ipairs(asking_fields(id)) do
  local its_number, since, till, asked, place = string.match(redis.call('HGET', key, field),
    '^(%d+)\n(%d+)\n(%d+)\n([^\n]*)\n(.*)$')
  if tonumber(its_number) == number then
    found = {field, since, asked, place}
  else
    left = math.min(left or math.huge, tonumber(till))
  end
end
if not found then return reply.never() end
if is_known_by_none(names) then return reply.unserved() end
local field, since, asked, place = unpack(found)
local part = string.match(field, '^asks|(.*)$') or ''
redis.call('HSET', key, STEP.decided(left and STATE.input_required or STATE.queued), 'decision|' .. number, said,
  part == '' and 'decided' or 'decided|' .. part,
  table.concat({number, decision, since, string.format('%.0f', now), asked, feedback}, '\n'),
  mover_field(part), enqueue(execution(id, part), place))
redis.call('HDEL', key, field, attempts_field(part))
if left then redis.call('ZADD', ASKED, left, id) else take_back(id, now) end
redis.call('ZADD', OPEN, now + FIRST_LOOK_MS, id)
emit(id, EVENT.decided, cjson.encode({stop = number, part = part, decision = decision}))
return reply.resumed()
