-- Executions that wait for the identical call of another one, their leader. They stand in one hash for each leader; where
-- a leader is gone without an outcome, one of them becomes its heir, and the hash stays as it is.

-- Number of followers that one script brings to an end: each costs a tenth of a millisecond.
local SETTLED_AT_ONCE = 50
-- How long it is known who became whose heir, in seconds.
local HEIRS_KEPT = 86400

-- The leaders whose followers wait for this execution: itself, and those whose heir it is.
local function sources_of(name)
  local sources = redis.call('SMEMBERS', inherits_key(name))
  sources[#sources + 1] = name
  return sources
end

local function followed(name) return redis.call('EXISTS', followers_key(name), inherits_key(name)) > 0 end

-- Who works now for those that attached to this leader.
local function leader_now(name)
  for _ = 1, 8 do
    local heir = redis.call('GET', heir_key(name))
    if not heir then return name end
    name = heir
  end
  return name
end

-- Have the followers of a leader settled by sweeps, a few at a time.
local function settle_later(source, state, outcome)
  redis.call('SET', settling_key(source), cjson.encode({state = state, outcome = outcome}), 'EX', HEIRS_KEPT)
  redis.call('SADD', SETTLING, source)
end

-- Give an outcome to at most `room` followers of a leader. The ids of the queries that end by it are added to `ended`.
-- Returns how many followers there were.
local function settle_some(source, state, outcome, now, ended, room)
  local followers = redis.call('HRANDFIELD', followers_key(source), room)
  if #followers == 0 then return 0 end
  redis.call('HDEL', followers_key(source), unpack(followers))
  for _, follower in ipairs(followers) do
    local id, part = split(follower)
    if part ~= '' then
      complete_part(id, part, outcome)
    elseif finalise(id, state, outcome, now) then
      ended[#ended + 1] = id
    end
    if followed(follower) then settle_later(follower, state, outcome) end
  end
  return #followers
end

-- Give an execution's outcome to everybody attached to it. `whole`: the leader is a query that ended by this very outcome,
-- so that its followers need no copy of the answer.
local function settle(leader, state, outcome, now, ended, whole)
  -- Those attached to a leader that has an heir wait for that one.
  if not followed(leader) or redis.call('EXISTS', heir_key(leader)) == 1 then return end
  local shared = {answer = outcome.answer, by = outcome.by, error = outcome.error, error_type = outcome.error_type,
    failure = outcome.failure, attached_to = leader, kept_by_leader = whole}
  local room = SETTLED_AT_ONCE
  for _, source in ipairs(seldom.sources_of(leader)) do
    if room > 0 then room = room - seldom.settle_some(source, state, shared, now, ended, room) end
    if redis.call('EXISTS', followers_key(source)) == 1 then seldom.settle_later(source, state, shared) end
  end
  redis.call('DEL', inherits_key(leader))
end

-- Send one that was attached on its way, with its own message. Returns whether its query is under way, and its front.
-- `lesson`: a field and its value that its record gets, if any.
local function set_out(follower, place, lesson)
  local id, part = split(follower)
  local state, front, route = unpack(redis.call('HMGET', record_key(id), 'state', 'front', 'route'))
  if not state or TERMINAL[state] then return false end
  show(id, part, STEP.promoted(route and STATE.queued or STATE.pending))
  redis.call('HSET', record_key(id), mover_field(part), enqueue(follower, place))
  if lesson then redis.call('HSET', record_key(id), lesson[1], lesson[2]) end
  redis.call('HDEL', record_key(id), 'attached_to')
  return true, front
end

-- The leader is gone without an outcome: one of those attached takes its place with its own message.
local function promote(leader, lesson)
  if not followed(leader) then return end
  local sources = sources_of(leader)
  redis.call('DEL', inherits_key(leader))
  for _, source in ipairs(sources) do
    local chosen, place = unpack(redis.call('HRANDFIELD', followers_key(source), 1, 'WITHVALUES'))
    while chosen do
      redis.call('HDEL', followers_key(source), chosen)
      local goes, front = set_out(chosen, place, lesson)
      if goes then
        if front then redis.call('SET', flight_key(front), (split(chosen))) end
        for _, each in ipairs(sources) do
          redis.call('SET', heir_key(each), chosen, 'EX', HEIRS_KEPT)
          if redis.call('EXISTS', followers_key(each)) == 1 then redis.call('SADD', inherits_key(chosen), each) end
        end
        return
      end
      chosen, place = unpack(redis.call('HRANDFIELD', followers_key(source), 1, 'WITHVALUES'))
    end
  end
end

-- A query's answer is for itself alone: nobody attaches to it from now on, and those attached go on by themselves. Of very
-- many, the rest waits for one of them, which does the same when it comes as far.
local function disband(leader, front, lesson)
  if front and redis.call('GET', flight_key(front)) == leader then redis.call('DEL', flight_key(front)) end
  if not followed(leader) then return end
  local room = SETTLED_AT_ONCE
  for _, source in ipairs(sources_of(leader)) do
    local some = room > 0 and redis.call('HRANDFIELD', followers_key(source), room, 'WITHVALUES') or {}
    for i = 1, #some, 2 do
      redis.call('HDEL', followers_key(source), some[i])
      set_out(some[i], some[i + 1], lesson)
      room = room - 1
    end
  end
  promote(leader, lesson)
end

-- Whether nothing more is to be done for an answer: its query has ended, and one of those attached takes its place; or it
-- waits for a person; or the query is not routed, because the server has lost the end of its file since the route was stored.
local function is_over(id, part)
  local state, routed, asking = unpack(redis.call('HMGET', record_key(id), 'state', 'routed', asks_field(part)))
  if state and not TERMINAL[state] then return not routed or asking end
  promote(execution(id, part))
  return true
end

local function attach(follower, leader, place)
  local id, part = split(follower)
  local id_of_leader = split(leader)
  redis.call('HSET', followers_key(leader), follower, place)
  show(id, part, STEP.attached)
  redis.call('HSET', record_key(id), 'attached_to', leader, mover_field(part), 'f\n' .. leader .. '\n')
  emit(id, EVENT.attached, cjson.encode({query_id = id_of_leader}))
end

-- A query has ended, so it is parked or delayed no more. Who waits for a part that was goes on without it: no message of
-- the part comes any more. Returns whether the query itself was parked or delayed.
local function leave_places(id)
  for _, field in ipairs(redis.call('HEXISTS', record_key(id), 'parts') == 1 and redis.call('HKEYS', record_key(id)) or {}) do
    local part = string.match(field, '^at|(.+)$')
    if part and leave_place(id, part) then seldom.promote(execution(id, part)) end
  end
  return leave_place(id, '')
end

-- A query ended from outside, in this state: what waits for it goes on without it; its call is cut unless others wait. The
-- calls of a fan-out are those of its parts: none of them would tell its end to those that wait for the whole. Nor does a
-- call that was to be made again after a pause.
local function cut_or_promote(id, state)
  local waited = leave_places(id)
  if state == STATE.running and not followed(id) then
    publish(CONTROL_CHANNEL, 'cancel ' .. id)
  elseif state ~= STATE.running or waited or redis.call('HEXISTS', record_key(id), 'parts') == 1 then
    promote(id)
  end
end
