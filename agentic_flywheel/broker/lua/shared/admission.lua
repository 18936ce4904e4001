-- Whether a flow may be called: pauses, rate, circuit, calls at once. And the leases of the calls.

-- How many more calls a set of them may hold. Those whose lease ran out are forgotten where it is full.
local function room_in(running, most, now)
  local room = most - redis.call('ZCARD', running)
  if room > 0 then return room end
  redis.call('ZREMRANGEBYSCORE', running, '-inf', now)
  return most - redis.call('ZCARD', running)
end

-- How many more calls a server may be given, of `at_once` in all; after an outage of one, then of twice as many each second.
-- `back`: what is known of an outage.
local function room_at(server, at_once, back, now)
  if back == HEARD.down then
    at_once = 1
  elseif back then
    at_once = math.min(at_once, 2 ^ math.floor((now - back) / 1000))
  end
  return room_in(serving_key(server), at_once, now)
end

-- Why a flow may not be called now, whatever its server says. Returns nil where a call may start, else the reason; for how
-- many milliseconds it holds (0: until something ends); and where a call may start, whether it probes an open circuit.
local function obstacle_of(flow, domain, concurrency, rate, now)
  local paused = redis.call('SMISMEMBER', PAUSED, paused_flow_member(flow), paused_domain_member(domain))
  if paused[1] == 1 or paused[2] == 1 then return REASON.paused, 0 end
  local circuit = redis.call('HMGET', circuit_key(flow), 'throttled_until', 'open_until')
  if circuit[1] and tonumber(circuit[1]) > now then return REASON.rate, tonumber(circuit[1]) - now end
  if circuit[2] then
    if tonumber(circuit[2]) > now then return REASON.circuit, tonumber(circuit[2]) - now end
    if redis.call('EXISTS', probe_key(flow)) == 1 then return REASON.circuit, 0 end
  end
  if room_in(running_key(flow), concurrency, now) <= 0 then return REASON.concurrency, 0 end
  if rate > 0 then
    -- Generic cell rate algorithm (ITU-T I.371): the theoretical arrival time may run ahead by one second's worth.
    local arrival = tonumber(redis.call('GET', rate_key(flow)) or 0)
    local early = arrival - 1000 - now
    if early > 0 then return REASON.rate, math.ceil(early) end
  end
  return nil, 0, circuit[2]
end

local function obstacle(flow, domain, concurrency, rate, server, at_once, back, now)
  local reason, wait_ms, probes = obstacle_of(flow, domain, concurrency, rate, now)
  if not reason and room_at(server, at_once, back, now) <= 0 then return REASON.concurrency, 0 end
  return reason, wait_ms, probes
end

local function take_slot(flow, server, execution_name, rate, lease_ms, probes, now)
  redis.call('ZADD', running_key(flow), now + lease_ms, execution_name)
  redis.call('ZADD', serving_key(server), now + lease_ms, execution_name)
  if probes then redis.call('SET', probe_key(flow), execution_name, 'PX', lease_ms) end
  if rate > 0 then
    local key = rate_key(flow)
    local arrival = math.max(tonumber(redis.call('GET', key) or 0), now) + 1000 / rate
    redis.call('SET', key, string.format('%.3f', arrival), 'PX', math.ceil(arrival - now) + 2000)
  end
end

-- How far the scores of a priority's parked messages lie above those of the next more urgent one.
local RANK = 1e13
-- For how long a place among the calls is kept for a message that was called up, in milliseconds.
local CALLED_UP_MS = 5000

-- The name of the place that is kept for an execution among the calls of its flow and of its server.
local function place_of(execution_name) return '>' .. execution_name end

-- Put at most `room` messages that wait for a flow back into their queues, as many as may start now, and keep places for
-- them, which nobody who comes later takes. Returns how many.
local function pump_flow(flow, domain, concurrency, rate, server, room, now)
  local reason, _, probes = obstacle_of(flow, domain, concurrency, rate, now)
  if reason then return 0 end
  room = math.min(room, concurrency - redis.call('ZCARD', running_key(flow)), 500)
  if rate > 0 then room = math.min(room, math.ceil(rate)) end
  if probes then room = 1 end
  local popped = redis.call('ZPOPMIN', parked_key(flow), room)
  -- What comes back last is taken first.
  for i = #popped - 1, 1, -2 do
    local name = bring_back(popped[i])
    if name then
      redis.call('ZADD', running_key(flow), now + CALLED_UP_MS, place_of(name))
      redis.call('ZADD', serving_key(server), now + CALLED_UP_MS, place_of(name))
    end
  end
  return #popped / 2
end

-- What is to be known of a flow for which something is parked, as PARKED_FLOWS keeps it.
local function limits(domain, concurrency, rate, server)
  return domain .. '\n' .. concurrency .. '\n' .. rate .. '\n' .. server
end

-- Have the sweeps look at a delayed set or at what is parked for a flow, also where their list of them was lost. The next
-- sweep of a worker that has the flow notes its limits; until then nothing is brought back.
local function have_swept(kind, place)
  if kind == 'd' then
    redis.call('SADD', DELAYED_QUEUES, place)
  elseif kind == 'p' then
    redis.call('HSETNX', PARKED_FLOWS, place, limits('', 0, 0, ''))
  end
end

-- Put parked messages back into their queues, as many as their server may be given now: of those that are most urgent, the
-- ones first whose flow has the fewest calls, so that no flow waits for all that wait for another.
local function pump(server, at_once, now)
  local parked = redis.call('HGETALL', PARKED_FLOWS)
  if #parked == 0 then return end
  local room = seldom.room_at(server, at_once, redis.call('GET', outage_key(server)), now)
  if room <= 0 then return end
  local flows = {}
  for i = 1, #parked, 2 do
    local domain, concurrency, rate, of = string.match(parked[i + 1], '^([^\n]*)\n([^\n]*)\n([^\n]*)\n(.*)$')
    local rank, calls = unpack(of == server and seldom.alone('flow ' .. parked[i], function()
      local first = redis.call('ZRANGE', parked_key(parked[i]), 0, 0, 'WITHSCORES')[2]
      return first and {math.floor(first / RANK), redis.call('ZCARD', running_key(parked[i]))}
    end) or {})
    if rank then flows[#flows + 1] = {parked[i], domain, tonumber(concurrency), tonumber(rate), rank, calls} end
  end
  table.sort(flows, function(one, other) return one[5] < other[5] or one[5] == other[5] and one[6] < other[6] end)
  for _, each in ipairs(flows) do
    local taken = seldom.alone('flow ' .. each[1], function()
      return seldom.pump_flow(each[1], each[2], each[3], each[4], server, room, now)
    end)
    room = room - (taken or 0)
    if room <= 0 then return end
  end
end

-- Failures to reach a server in a row that make an outage; and for how many milliseconds its calls grow again after it.
local OUTAGE_THRESHOLD = 3
local OUTAGE_MS = 10000

-- Note what the end of a call says of its server: up, down, or '' for nothing. `outage`: what is known of one.
local function hear(server, heard, outage, now)
  if heard == HEARD.up and outage == HEARD.down then
    redis.call('SET', outage_key(server), now, 'PX', OUTAGE_MS)
  elseif heard == HEARD.down then
    local failures = redis.call('INCR', unreached_key(server))
    redis.call('EXPIRE', unreached_key(server), 60)
    if failures >= OUTAGE_THRESHOLD then redis.call('SET', outage_key(server), HEARD.down, 'EX', 3600) end
  end
end

-- Transient failures in a row that open the circuit, and for how many milliseconds: 2, 4, then 8 s; one call then probes.
local CIRCUIT_THRESHOLD = 5
local CIRCUIT_OPEN_MS = 2000
local CIRCUIT_OPEN_MAX_MS = 8000

-- Note that a flow asks not to be called for so long. That is no failure of it.
local function call_throttled(flow, throttled_ms, now)
  redis.call('HSET', circuit_key(flow), 'throttled_until', now + throttled_ms)
end

-- For how many milliseconds a flow that refuses is left alone at least: 1, 2, 4 s ..., until a call succeeds.
local REFUSED_MS = 1000
local REFUSED_MAX_MS = 60000

-- Note that a flow refused a call, and asks for a pause. Calls that began before that pause count as the one that it refused.
local function call_refused(flow, throttled_ms, now)
  local key = circuit_key(flow)
  local paused_until, refusals = unpack(redis.call('HMGET', key, 'throttled_until', 'refusals'))
  if not refusals or tonumber(paused_until) <= now then refusals = redis.call('HINCRBY', key, 'refusals', 1) end
  call_throttled(flow, math.max(throttled_ms, math.min(REFUSED_MS * 2 ^ (refusals - 1), REFUSED_MAX_MS)), now)
end

-- Note a transient failure. `throttled_ms`: the flow asked not to be called for so long, which is no failure of it.
local function call_failed(flow, throttled_ms, now)
  if throttled_ms > 0 then return call_refused(flow, throttled_ms, now) end
  local key = circuit_key(flow)
  local failures = redis.call('HINCRBY', key, 'failures', 1)
  local was_open = redis.call('HEXISTS', key, 'open_until') == 1
  if failures >= CIRCUIT_THRESHOLD or was_open then
    if was_open and tonumber(redis.call('HGET', key, 'open_until')) > now then return end
    local opens = redis.call('HINCRBY', key, 'opens', 1)
    redis.call('HSET', key, 'open_until', now + math.min(CIRCUIT_OPEN_MS * 2 ^ (opens - 1), CIRCUIT_OPEN_MAX_MS))
  end
end

-- Whether an execution is still its query's latest, and nobody else has its lease. A lease that only ran out, while the
-- broker was away, is still its own: nobody has begun since.
local function has_lease(leaseholder, execution_name, fence)
  if leaseholder then return leaseholder == execution_name .. '#' .. fence end
  local id, part = seldom.split(execution_name)
  return redis.call('HGET', record_key(id), part == '' and 'fence' or 'fence|' .. part) == fence
end

-- Return a new fence. None is ever given twice, even by a server whose file has lost its end, and with it the last fences
-- that were given: a fence is at least the server's time in microseconds. `last`: what FENCE holds.
local function next_fence(last, now_us)
  local fence = string.format('%.0f', math.max(tonumber(last or 0) + 1, now_us))
  redis.call('SET', FENCE, fence)
  return fence
end

-- Give back an execution's lease and its place among the calls, note what was heard of its server, and delete other keys.
-- Returns whether the lease was its own.
local function give_back(lease, flow, server, execution_name, fence, heard, now, others)
  lease = lease_key(lease)
  local probe = probe_key(flow)
  local leaseholder, prober, outage = unpack(redis.call('MGET', lease, probe, outage_key(server)))
  if not has_lease(leaseholder, execution_name, fence) then return false end
  redis.call('DEL', lease, prober == execution_name and probe or lease,
    heard == HEARD.up and unreached_key(server) or lease, unpack(others or {}))
  if heard == HEARD.down or outage then seldom.hear(server, heard, outage, now) end
  redis.call('ZREM', running_key(flow), execution_name)
  redis.call('ZREM', serving_key(server), execution_name)
  return true
end

-- The calls that were made for a query, one a line: fence, flow and part. A flow may still run that nobody waits for.

-- Longest such text, in bytes; the oldest calls are forgotten first.
local CALLS_BYTES = 4096

local function with_call(calls, fence, flow, part)
  calls = (calls or '') .. fence .. ' ' .. flow .. ' ' .. part .. '\n'
  if #calls > CALLS_BYTES then calls = string.match(calls, '\n(.*)$') end
  return calls
end

-- The fences of the calls of a flow for a part.
local function calls_of(calls, flow, part)
  local fences = {}
  for fence, its_flow, its_part in string.gmatch(calls or '', '(%d+) ([^ \n]+) ([^\n]*)\n') do
    if its_flow == flow and its_part == part then fences[#fences + 1] = fence end
  end
  return fences
end

-- Forget a call that never reached its flow.
local function forget_call(key, fence)
  local calls = redis.call('HGET', key, 'calls')
  if calls then redis.call('HSET', key, 'calls', (string.gsub(calls, '%f[%d]' .. fence .. ' [^\n]*\n', ''))) end
end

-- The field with the failure of a flow for which a query is not to ask it.
local function gave_up_field(flow) return 'gave_up|' .. flow end

-- Where an execution counts its attempts.
local function attempts_field(part)
  if part == '' then return 'attempts' end
  return 'attempts|' .. part
end
