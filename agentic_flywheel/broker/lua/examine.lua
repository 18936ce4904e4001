-- Look at open queries whose time to be looked at has come: does what their records name as their mover exist?
-- What seems lost is looked at again after `confirm_ms`; only if the same mover is still lost is it reported.
--
-- limit: whole           most queries in one look
-- confirm_ms: whole      between the two looks that find an execution lost
-- longest_ms: whole      the longest pause between two looks
-- age_ms: whole          queries that are open for longer end as expired
-- patience_ms: whole     for how long what a later version has recorded may be lost while nobody of that version lives
-- settle_ms: whole       nothing is judged so soon after a start of the server: workers have still to come back
--
-- What is lost, in lists of one length: the query, its part, the mover that its record names, its flow, its stage, and its
-- record's version. What a later version has recorded is left to the workers of that version while there are any.
-- `faults`: what failed, in words; the others were looked at all the same.
--> examined(looked: whole, ids: texts, parts: texts, movers: texts, flows: texts, stages: texts, versions: texts, expired: texts, unread: texts, faults: texts)
--> settling               the server has just started
local server = redis.pcall('INFO', 'server')  -- a user may not be allowed to ask
local uptime = type(server) == 'string' and string.match(server, 'uptime_in_seconds:(%d+)')
if uptime and tonumber(uptime) * 1000 < settle_ms then return reply.settling() end
local now = now_ms()
local known, expired, unread_of, unread = {}, {}, {}, {}
local ids, lost_parts, movers, flows, stages, versions = {}, {}, {}, {}, {}, {}

-- Queues that some living worker reads.
local read = {}
for _, worker in ipairs(redis.call('SMEMBERS', WORKERS)) do
  local _, queues = sign_of(worker)
  for queue in string.gmatch(queues or '', '[^\n]+') do read[queue] = true end
end

-- The number of the first numbered message at the taking end of a queue, or of its backlog, infinite where there is none;
-- and the tags of those before it: brought back, redelivered, or another client's. Nothing where there are too many of them to tell.
local function smallest(queue)
  if not known[queue] then
    local found, before = nil, {}
    for i = -1, -50, -1 do
      local raw = redis.pcall('LINDEX', queue, i)
      if type(raw) ~= 'string' then found = math.huge break end
      local tail = string.sub(raw, -700)
      local name, tag = string.match(tail, '"execution": ?"([^"\\]*)", ?"delivery_tag": ?"(%x+)' .. REDELIVERY_MARK .. '?%d*"}}$')
      if name and not string.find(tail, '"redelivered": ?true') then
        local id, part = split(name)
        local mover = redis.call('HGET', record_key(id), mover_field(part)) or ''
        local number, named = string.match(mover, '\n(%d+)%.(%x+)$')
        if named == tag and number ~= '0' then found = tonumber(number) break end
      end
      if tag then before[tag] = true end
    end
    if found and has_backlog(queue) then
      found = math.min(found, redis.call('ZRANGE', backlog_key(queue), 0, 0, 'WITHSCORES')[2])
    end
    known[queue] = {found, before}
  end
  return unpack(known[queue])
end

-- Messages a millisecond by which a queue has lately moved on.
local function pace(queue, number)
  local at, from, rate = string.match(redis.call('HGET', PACE, queue) or '', '^(%d+) (%d+) (.*)$')
  if not at or now - at > 20000 then
    rate = at and math.max(0, number - from) / (now - at) or 0
    redis.call('HSET', PACE, queue, string.format('%.0f %.0f %.6f', now, number, rate))
  end
  return tonumber(rate)
end

local function smallest_score(key)
  if not known[key] then known[key] = tonumber(redis.pcall('ZRANGE', key, 0, 0, 'WITHSCORES')[2]) or math.huge end
  return known[key]
end

-- Whether the lease of a call is renewed.
local function runs(flow, name)
  local till = flow and redis.call('ZSCORE', running_key(flow), name)
  return till and tonumber(till) > now
end

-- Whether a leader will tell its followers its end: it is open, or renews an answer, and does not wait for `me` in turn.
local function leads(leader, me)
  for _ = 1, 8 do
    if leader == me then return false end
    local id, part = split(leader)
    if renewal(part) then return runs(string.sub(part, #RENEWAL + 1), leader) end
    if has_ended(leader) then return false end
    leader = string.match(redis.call('HGET', record_key(id), mover_field(part)) or '', '^f\n([^\n]*)')
    if not leader then return true end
    leader = leader_now(leader)
  end
  return true
end

-- The tag under which a message is in a worker's hands: its first one, or that of a redelivery.
local function delivery_of(tag)
  if redis.call('HEXISTS', UNACKED, tag) == 1 then return tag end
  for times = 1, 5 do
    if redis.call('HEXISTS', UNACKED, tag .. REDELIVERY_MARK .. times) == 1 then return tag .. REDELIVERY_MARK .. times end
  end
end

-- Whether a query, or the turn for whose end it waits, waits for a person. For that there is a time of its own.
local function waits_for_person(id, session)
  local head = session and redis.call('LINDEX', line_key(session), 0) or id
  return redis.call('ZSCORE', ASKED, id) or redis.call('ZSCORE', ASKED, head)
end

-- Milliseconds after which to look again; nil where the mover that the record names is not there.
local function pause(id, part, mover, age)
  local kind, place, number = string.match(mover or '', '^(%a)\n([^\n]*)\n(.*)$')
  local usual = math.min(math.max(age / 2, 10000), longest_ms)
  if kind == 'q' then
    local order, tag = string.match(number, '^(%d+)%.(.*)$')
    local delivery = delivery_of(tag)
    if delivery then
      redis.call('ZADD', UNACKED_INDEX, 'NX', now / 1000, delivery)
      return math.min(usual, 60000)
    end
    if not read[place] and not unread_of[place] then
      unread_of[place] = true
      unread[#unread + 1] = place
    end
    local least, before = smallest(place)
    if not least or before[tag] then return math.min(usual, 60000) end
    local ahead = tonumber(order) - least
    if ahead < 0 then return nil end
    -- Half the time until its turn: so it is looked at a few times, and found soon after its turn.
    local rate = pace(place, least)
    return rate == 0 and usual or math.min(math.max(ahead / rate / 2, 10000), longest_ms)
  elseif kind == 'd' or kind == 'p' then
    if smallest_score(kind == 'd' and delayed_key(place) or parked_key(place)) > tonumber(number) then return nil end
    have_swept(kind, place)
    return math.min(usual, 60000)
  elseif kind == 'h' then
    local head = redis.call('LINDEX', line_key(place), 0)
    local state = head and head ~= id and redis.call('HGET', record_key(head), 'state')
    local lined_up = state and not TERMINAL[state] and redis.call('HEXISTS', waiting_turns_key(place), id) == 1
    return lined_up and usual or nil
  elseif kind == 'f' then
    local me = execution(id, part)
    if redis.call('HEXISTS', followers_key(place), me) == 0 then return nil end
    if redis.call('SISMEMBER', SETTLING, place) == 1 then return 10000 end
    return leads(leader_now(place), me) and usual or nil
  end
  if kind == 'a' then
    -- Where the sweeps' list of them was lost, it gets the query back.
    if redis.call('HEXISTS', record_key(id), asks_field(part)) == 0 then return nil end
    put_aside(id, number, now)
    return usual
  end
  -- Another Celery client's delivery has no number. Within a minute it has been classified.
  return age < 60000 and 15000 or nil
end

-- Suspects first: behind a million queries that are due, each would wait for all of them.
local due = redis.call('ZRANGEBYSCORE', SUSPECTS, '-inf', now, 'LIMIT', 0, limit)
if #due > 0 then redis.call('ZREM', SUSPECTS, unpack(due)) end
if #due < limit then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', OPEN, '-inf', now, 'LIMIT', 0, limit - #due)) do due[#due + 1] = id end
end
local looked = {}
local function look_at_query(id)
  local key = record_key(id)
  local state, created, flow, parts, deadline, version, resumed, session, stage = unpack(redis.call('HMGET', key, 'state',
    'created', 'flow', 'parts', 'deadline', 'v', 'resumed', 'session', 'stage'))
  local later = tonumber(version or 0) > VERSION
  local age = now - tonumber(resumed or created or now)
  if not state or TERMINAL[state] then
    redis.call('ZREM', OPEN, id)
  elseif age > age_ms and not waits_for_person(id, session) then
    if finalise(id, STATE.expired, {reason = 'it was open for longer than the age limit'}, now) then
      expired[#expired + 1] = id
      cut_or_promote(id, state)
    end
  else
    local again = longest_ms
    local function look_at(part, flow_of_it, stage_of_it)
      local mover, suspect, rebuilt = unpack(redis.call('HMGET', key, mover_field(part), 'suspect|' .. part,
        'rebuilt|' .. part))
      mover = mover or ''
      local wait = pause(id, part, mover, age)
      if not wait and runs(flow_of_it, execution(id, part)) then wait = 10000 end
      -- A later version may know of places of which this one does not.
      if not wait and later and not string.match(mover, '^[qdphfa]?\n') and is_served(tonumber(version), {}, '') then
        wait = math.min(math.max(age / 2, 10000), longest_ms)
      end
      local lost = not wait and suspect == mover
      -- This version cannot write the message that it needs.
      if lost and later then lost = unserved(id, part, is_served(tonumber(version), {}, ''), now) >= patience_ms end
      if lost then
        local at = #ids + 1
        ids[at], lost_parts[at], movers[at], flows[at], stages[at] = id, part, mover, flow_of_it or '', stage_of_it
        versions[at] = version or '0'
        wait = math.min(confirm_ms * 2 ^ tonumber(rebuilt or 0), longest_ms)
      elseif not wait then
        redis.call('HSET', key, 'suspect|' .. part, mover)
        redis.call('ZADD', SUSPECTS, now + confirm_ms, id)
        wait = confirm_ms
      end
      again = math.min(again, wait)
    end
    if parts and stage ~= STAGE.synthesize then
      for _, field in ipairs(redis.call('HKEYS', key)) do
        local part = string.match(field, '^at|(.+)$')
        if part and redis.call('HEXISTS', parts_key(id), part) == 0 then
          look_at(part, redis.call('HGET', key, 'flow|' .. part) or part, STAGE.answer)
        end
      end
    else
      look_at('', flow, stage or STAGE.classify)
    end
    if deadline then redis.call('ZADD', DEADLINES, 'NX', deadline, id) end
    redis.call('ZADD', OPEN, now + again, id)
  end
end
for _, id in ipairs(due) do
  if not looked[id] then  -- it may be due in both
    looked[id] = true
    redis.call('ZADD', OPEN, 'XX', now + longest_ms, id)  -- where the rest fails
    alone('query ' .. id, function() look_at_query(id) end)
  end
end
return reply.examined(#due, ids, lost_parts, movers, flows, stages, versions, expired, unread, faults)
