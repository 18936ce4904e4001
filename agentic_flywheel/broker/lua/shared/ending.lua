-- The end of a query, and of one part of it.

-- Celery's own result, as its JSON serializer writes it. `result` is JSON.
local function celery_meta(id, status, result)
  return '{"status":"' .. status .. '","result":' .. result ..
    ',"traceback":null,"children":[],"task_id":' .. cjson.encode(id) .. '}'
end

local function celery_failure(kind, arguments)
  return cjson.encode({exc_type = kind, exc_message = arguments, exc_module = 'agentic_flywheel.errors'})
end

-- What `finalise` reads of a query.
local function look(id)
  return redis.call('HMGET', record_key(id), 'state', 'ttl', 'front', 'session', 'deadline', 'attached_to', 'domain',
    'flow', 'owner', 'intent', 'created', 'started', 'parts', 'plain', 'continuation', 'asker',
    'asked_flow', 'bytes', 'blobs', 'person_ms', 'asked', 'at')
end

-- Longest answer that is published with a query's end, in bytes; a longer one is read by whoever waits for it.
local TOLD_BYTES = 8192

-- The text that is published at a query's end: its id; with a short answer also the leader whose call gave it, the
-- session, the time from acceptance to end in milliseconds, and the answer, a line each. `records.read_told` reads it.
local function told(id, state, answer, leader, session, took)
  if state ~= STATE.succeeded or #answer > TOLD_BYTES then return id end
  return table.concat({id, leader or '', session or '', took, answer}, '\n')
end

local function how_of(outcome, state)
  if outcome.error_type == OWNERS_REFUSAL then return HOW.refused end
  return outcome.attached_to and HOW.attached or outcome.cached and HOW.cached or state
end

-- The only way into a terminal state: the first final outcome wins; whoever comes later gets false.
-- `outcome`: answer (JSON), by (the flow that gave it), cached (whether it came from the cache), error (JSON), error_type,
-- failure (Celery's form of the error), reason, attached_to, kept_by_leader (whether the leader's result holds the same
-- answer), in_hand (whether its message is with whoever writes this). `about`: what `look` returned, where it was read
-- already.
local function finalise(id, state, outcome, now, about)
  local key = record_key(id)
  local state_before, ttl, front, session, deadline, leader, domain, flow, owner, intent, created, started, parts, plain,
    continuation, asker, asked_flow, bytes, blobs, person_ms, waits_since = unpack(about or look(id))
  if not state_before or TERMINAL[state_before] then return false end
  if waits_since and redis.call('ZREM', ASKED, id) == 1 then
    redis.call('HDEL', key, 'asked', unpack(seldom.asking_fields(id)))
  end
  -- No figure of ours holds the time that people took.
  created = created + (person_ms or 0) + (waits_since and now - waits_since or 0)
  -- Parts of a fan-out have been counted one by one, unless it ended without them.
  local asked, by, of_leader = asked_flow or flow, outcome.by, nil
  if not asked and (outcome.attached_to or leader) then
    -- It attached before its own route was known: the flow is its leader's.
    local about_leader = redis.call('HMGET', record_key((seldom.split(outcome.attached_to or leader))), 'asked_flow', 'flow')
    of_leader = about_leader[1] or about_leader[2]
    asked, by = of_leader, about_leader[1] and by
  end
  if not parts or not (outcome.answer or outcome.error) then
    tally_flow(hour_of(now), asked or '(none)', outcome.answer and by, how_of(outcome, state), outcome.error_type,
      created, started, now)
  end
  tally_names(hour_of(now), asker or owner, intent)
  redis.call('ZREM', OPEN, id)
  if bytes then seldom.lay_down(id, owner, bytes) end
  if blobs then seldom.leave_blobs(id, blobs) end
  move_domain(id, domain, nil)
  -- Nothing reads these from now on; the record is kept for long.
  redis.call('HDEL', key, unpack({'front', 'continuation', 'synthesis', 'stage', outcome.in_hand and 'at' or nil}))
  local fields = {STEP.ended(state, outcome.reason or ''), 'finished', now}
  local function put(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  if of_leader then put('flow', of_leader) end
  if outcome.error then put('error', outcome.error) end
  if outcome.attached_to then put('attached_to', outcome.attached_to) end
  redis.call('HSET', key, unpack(fields))
  if parts then redis.call('DEL', parts_key(id)) end
  local meta
  -- Callers of a plain Celery client look nowhere else.
  if outcome.kept_by_leader and state == STATE.succeeded and not plain then
    meta = nil
  elseif state == STATE.succeeded then
    meta = celery_meta(id, 'SUCCESS', outcome.answer)
  elseif state == STATE.cancelled then
    meta = celery_meta(id, 'REVOKED', seldom.celery_failure('QueryCancelled', {id, outcome.reason}))
  elseif state == STATE.expired then
    meta = celery_meta(id, 'FAILURE', seldom.celery_failure('DeadlineExceeded', {id, outcome.reason}))
  else
    meta = celery_meta(id, 'FAILURE', outcome.failure)
  end
  if meta then
    redis.call('SET', result_key(id), meta, 'EX', ttl)
    publish(result_key(id), meta)
  end
  if deadline then redis.call('ZREM', DEADLINES, id) end
  if leader then redis.call('HDEL', followers_key(leader), id) end
  if front then
    local flight = flight_key(front)
    if redis.call('GET', flight) == id then redis.call('DEL', flight) end
  end
  if session then
    if state == STATE.succeeded then seldom.append_turn(session, id, outcome.answer, not outcome.attached_to, now) end
    seldom.next_turn(session, id)
  end
  -- What a plain client linked to its task goes on now, in a task of its own.
  if continuation then
    redis.call('HSET', key, seldom.mover_field(CONTINUATION),
      seldom.enqueue(seldom.execution(id, CONTINUATION), continuation))
  end
  emit(id, EVENT.final, '{"state":"' .. state .. '"}')
  pack_events(id, meta and outcome.answer)
  redis.call('EXPIRE', key, ttl)
  redis.call('EXPIRE', events_key(id), ttl)
  publish(done_channel(string.sub(id, 1, 8)),
    told(id, state, outcome.answer, outcome.attached_to or leader, session, now - created))
  return true
end

-- One part of a fan-out is done; the last one puts the synthesis into its queue. Returns whether this is its first outcome.
local function complete_part(id, part, outcome)
  local state, expected, synthesis, created, person_ms, waits_since = unpack(redis.call('HMGET', record_key(id), 'state',
    'parts', 'synthesis', 'created', 'person_ms', 'asked'))
  -- Without a number of parts the server has lost the route, with the end of its file: the part will be asked again.
  if not state or TERMINAL[state] or not expected then return false end
  local parts = parts_key(id)
  local value = outcome.answer and '{"answer":' .. outcome.answer .. '}' or '{"error":' .. outcome.error .. '}'
  if redis.call('HSETNX', parts, part, value) == 0 then return false end
  -- A part is named by the flow that was asked.
  local now = now_ms()
  created = created + (person_ms or 0) + (waits_since and now - waits_since or 0)
  tally_flow(hour_of(now), part, outcome.answer and outcome.by, how_of(outcome, outcome.answer and STATE.succeeded or
    STATE.failed), outcome.error_type, created, nil, now)
  if redis.call('HLEN', parts) == tonumber(expected) then
    redis.call('HSET', record_key(id), 'stage', STAGE.synthesize, 'at', enqueue(id, synthesis))
  end
  return true
end
