-- What the scripts share; each gets the paragraphs that it uses (see agentic_flywheel/batch.py). One Redis, not a cluster:
-- keys are built from ids here. Time is the server's, so that a worker whose clock jumps decides nothing.
-- A call of Redis costs more than what it does, so what belongs to one key or kind is read and written at once.

local P = 'flywheel:'

local TERMINAL = {succeeded = true, failed = true, cancelled = true, expired = true}

local STREAM_CAP = 5000

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Whether a value that is there is within its TTL. One without a TTL was put there by hand, and is fresh.
local function fresh(cache_key, stale_ms)
  if stale_ms == 0 then return true end
  local left = redis.call('PTTL', cache_key)
  return left == -1 or left >= stale_ms
end

local function record(id) return P .. 'query:' .. id end

-- An execution is a query, or one part of a fanned-out query: `id` or `id|part`.
local function execution(id, part)
  if part == '' then return id end
  return id .. '|' .. part
end

local function split(execution_id)
  local id, part = string.match(execution_id, '^([^|]+)|(.+)$')
  if id then return id, part end
  return execution_id, ''
end

-- Whether an execution only renews a cached answer whose query has been answered with the stale one.
local function renewal(part) return string.sub(part, 1, 9) == '~refresh.' end

local function emit(id, kind, data)
  redis.call('XADD', P .. 'events:' .. id, 'MAXLEN', '~', STREAM_CAP, '*', 'kind', kind, 'data', data)
  redis.call('PUBLISH', P .. 'news:' .. id, kind)
end

-- Queries under way: of all domains, and of each. Exact, since each is accepted once and ends once.
local LOAD = P .. 'load'

local function move_load(from, to)
  if from == to then return end
  if from then redis.call('HINCRBY', LOAD, from, -1) end
  if to then redis.call('HINCRBY', LOAD, to, 1) end
end

-- What an owner has: queries by the time of their submission, sessions by that of their last turn. The names of what has
-- expired go with a later one; twice its time, since a query may wait before it ends and its time begins.
local function own(kind, owner, name, ttl, now)
  local key = P .. kind .. ':' .. owner
  redis.call('ZADD', key, now, name)
  -- Once a second at most.
  if redis.call('TTL', key) < 2 * ttl then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - 2000 * ttl)
    redis.call('EXPIRE', key, 2 * ttl)
  end
end

-- A turn enters the queue when the one before it has ended; so turns of one session never overlap, in the order of
-- their submission.
local function next_turn(session, id)
  local line = P .. 'line:' .. session
  if redis.call('LINDEX', line, 0) ~= id then
    redis.call('LREM', line, 0, id)
    redis.call('HDEL', P .. 'held:' .. session, id)
    return
  end
  redis.call('LPOP', line)
  while true do
    local follower = redis.call('LINDEX', line, 0)
    if not follower then return end
    local held = redis.call('HGET', P .. 'held:' .. session, follower)
    redis.call('HDEL', P .. 'held:' .. session, follower)
    local state = redis.call('HGET', record(follower), 'state')
    if held and state and not TERMINAL[state] then
      local queue, message = string.match(held, '^([^\n]+)\n(.*)$')
      redis.call('HSET', record(follower), 'state', 'pending', 'reason', '')
      redis.call('LPUSH', queue, message)
      return
    end
    redis.call('LPOP', line)
  end
end

-- A turn's texts are kept up to so many bytes: fifty turns of any answers stay a bounded session.
local TURN_BYTES = 32768

local function bounded(text)
  if #text <= TURN_BYTES then return text end
  local cut = TURN_BYTES
  -- Not within a character: bytes 128 to 191 continue one.
  while cut > 0 and string.byte(text, cut + 1) >= 128 and string.byte(text, cut + 1) < 192 do cut = cut - 1 end
  return string.sub(text, 1, cut) .. ' […]'
end

local function append_turn(session, id, stored, remembered, now)
  local ok, answer = pcall(cjson.decode, stored)
  if not ok or type(answer) ~= 'table' or not answer.text then answer = {text = stored, flow = '', domain = ''} end
  if answer.kind == 'clarify' then return end
  local about = P .. 'session:' .. session
  local turns = P .. 'turns:' .. session
  local query, owner, ttl, keep = unpack(redis.call('HMGET', record(id), 'query', 'owner', 'session_ttl', 'turns'))
  redis.call('RPUSH', turns, cjson.encode({query_id = id, question = bounded(cjson.decode(query).question),
    answer = bounded(answer.text), flow = answer.flow, domain = answer.domain,
    remembered = remembered and answer.remembered == true, at = now,
    private_to = answer.private == true and answer.profile or nil}))
  redis.call('LTRIM', turns, -tonumber(keep), -1)
  redis.call('HSET', about, 'owner', owner, 'updated', now)
  redis.call('EXPIRE', turns, ttl)
  redis.call('EXPIRE', about, ttl)
  own('sessions', owner, session, ttl, now)
end

local function celery_meta(id, status, result)
  return '{"status":"' .. status .. '","result":' .. result ..
    ',"traceback":null,"children":[],"task_id":"' .. id .. '"}'
end

local function celery_failure(kind, arguments)
  return '{"exc_type":"' .. kind .. '","exc_message":' .. cjson.encode(arguments) ..
    ',"exc_module":"agentic_flywheel.errors"}'
end

-- What `finalise` has to know of a query; its front is the third.
local function look(id)
  return redis.call('HMGET', record(id), 'state', 'ttl', 'front', 'session', 'deadline', 'attached_to', 'domain', 'flow',
    'owner', 'route', 'created', 'started', 'parts')
end

-- Whoever waits for a query is told its answer with its end, up to so many bytes; a longer one is read by them.
local TOLD_BYTES = 8192

-- What is told of a query's end: its id, and where it has a short answer also whose call that came from, the session, how
-- long it took in milliseconds, and the answer; a line each. `records.read_told` reads it.
local function told(id, state, answer, leader, session, took)
  if state ~= 'succeeded' or #answer > TOLD_BYTES then return id end
  return table.concat({id, leader or '', session or '', took, answer}, '\n')
end

-- The only way into a terminal state: the first final answer wins, whoever comes later is told so.
-- `outcome`: answer (JSON), error (JSON), failure (Celery's form of it), reason, attached_to. `about`: what `look` returned,
-- where somebody did already.
local function finalise(id, state, outcome, now, about)
  local key = record(id)
  local state_before, ttl, front, session, deadline, leader, domain, flow, owner, route, created, started, parts =
    unpack(about or look(id))
  if not state_before or TERMINAL[state_before] then return false end
  local how = state
  if outcome.attached_to then
    how = 'attached'
  elseif outcome.answer and string.find(outcome.answer, '"cached":true', 1, true) then
    how = 'cached'
  end
  tally(flow, owner, route, how, outcome.error, created, started, now)
  redis.call('HINCRBY', LOAD, '*', -1)
  move_load(domain, nil)
  local fields = {'state', state, 'finished', now, 'reason', outcome.reason or ''}
  local function put(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  if outcome.error then put('error', outcome.error) end
  if outcome.attached_to then put('attached_to', outcome.attached_to) end
  redis.call('HSET', key, unpack(fields))
  if parts then
    redis.call('HDEL', key, 'synthesis')
    redis.call('DEL', P .. 'parts:' .. id)
  end
  local meta
  if state == 'succeeded' then
    meta = celery_meta(id, 'SUCCESS', outcome.answer)
  elseif state == 'cancelled' then
    meta = celery_meta(id, 'REVOKED', celery_failure('QueryCancelled', {id, outcome.reason}))
  elseif state == 'expired' then
    meta = celery_meta(id, 'FAILURE', celery_failure('DeadlineExceeded', {id, outcome.reason}))
  else
    meta = celery_meta(id, 'FAILURE', outcome.failure)
  end
  local result = 'celery-task-meta-' .. id
  redis.call('SET', result, meta, 'EX', ttl)
  redis.call('PUBLISH', result, meta)
  if deadline then redis.call('ZREM', P .. 'deadlines', id) end
  if leader then redis.call('HDEL', P .. 'followers:' .. leader, id) end
  if front then
    local flight = P .. 'flight:' .. front
    if redis.call('GET', flight) == id then redis.call('DEL', flight) end
  end
  if session then
    if state == 'succeeded' then append_turn(session, id, outcome.answer, not outcome.attached_to, now) end
    next_turn(session, id)
  end
  emit(id, 'final', '{"state":"' .. state .. '"}')
  redis.call('EXPIRE', key, ttl)
  redis.call('EXPIRE', P .. 'events:' .. id, ttl)
  redis.call('PUBLISH', P .. 'done:' .. string.sub(id, 1, 8),
    told(id, state, outcome.answer, outcome.attached_to or leader, session, now - created))
  return true
end

-- One part of a fan-out is done; the last one brings the synthesis into its queue.
local function complete_part(id, part, outcome)
  local state = redis.call('HGET', record(id), 'state')
  if not state or TERMINAL[state] then return end
  local parts = P .. 'parts:' .. id
  local value = outcome.answer and '{"answer":' .. outcome.answer .. '}' or '{"error":' .. outcome.error .. '}'
  if redis.call('HSETNX', parts, part, value) == 0 then return end
  if redis.call('HLEN', parts) < tonumber(redis.call('HGET', record(id), 'parts')) then return end
  local queue, message = string.match(redis.call('HGET', record(id), 'synthesis'), '^([^\n]+)\n(.*)$')
  redis.call('LPUSH', queue, message)
end

-- Give an execution's outcome to everybody attached to it. The ids of the queries that end by it are added to `ended`.
local function settle(leader, state, outcome, now, ended)
  local key = P .. 'followers:' .. leader
  local followers = redis.call('HKEYS', key)
  if #followers == 0 then return end
  redis.call('DEL', key)
  for _, follower in ipairs(followers) do
    local id, part = split(follower)
    if part ~= '' then
      complete_part(id, part, outcome)
    else
      local shared = {answer = outcome.answer, error = outcome.error, failure = outcome.failure, attached_to = leader}
      if finalise(id, state, shared, now) then ended[#ended + 1] = id end
    end
    settle(follower, state, outcome, now, ended)
  end
end

-- The leader is gone without an answer: the first of those attached takes its place with its own message.
local function promote(leader)
  local key = P .. 'followers:' .. leader
  local flat = redis.call('HGETALL', key)
  if #flat == 0 then return end
  redis.call('DEL', key)
  local chosen
  for i = 1, #flat, 2 do
    local id, part = split(flat[i])
    local state = redis.call('HGET', record(id), 'state')
    if state and not TERMINAL[state] then
      if not chosen then
        chosen = flat[i]
        local queue, message = string.match(flat[i + 1], '^([^\n]+)\n(.*)$')
        redis.call('HSET', record(id), 'state', string.sub(queue, 1, 7) == 'domain.' and 'queued' or 'pending', 'reason', '')
        redis.call('HDEL', record(id), 'attached_to')
        redis.call('LPUSH', queue, message)
        local front = redis.call('HGET', record(id), 'front')
        if front then redis.call('SET', P .. 'flight:' .. front, id) end
      else
        redis.call('HSET', P .. 'followers:' .. chosen, flat[i], flat[i + 1])
        redis.call('HSET', record(id), 'attached_to', chosen)
      end
    end
  end
end

local function attach(follower, leader, place, now)
  local id = split(follower)
  local id_of_leader = split(leader)
  redis.call('HSET', P .. 'followers:' .. leader, follower, place)
  redis.call('HSET', record(id), 'state', 'waiting', 'reason', 'attached', 'attached_to', leader)
  emit(id, 'attached', cjson.encode({query_id = id_of_leader}))
end

-- A late reader of a follower sees the tokens from the first one.
local function copy_tokens(follower, leader)
  local id = split(follower)
  local id_of_leader, part = split(leader)
  if part ~= '' then return end
  for _, entry in ipairs(redis.call('XRANGE', P .. 'events:' .. id_of_leader, '-', '+')) do
    local kind = entry[2][2]
    if kind == 'token' or kind == 'retrying' then emit(id, kind, entry[2][4]) end
  end
end

-- Admission of one flow: paused, told to wait, open circuit, calls at once, calls per second.
-- Returns nil where a call may start, else the reason; how many milliseconds it holds (0: until something ends); and
-- where a call may start, whether it probes an open circuit.
local function obstacle(flow, domain, concurrency, rate, now)
  local paused = redis.call('SMISMEMBER', P .. 'paused', 'flow:' .. flow, 'domain:' .. domain)
  if paused[1] == 1 or paused[2] == 1 then return 'paused', 0 end
  local circuit = redis.call('HMGET', P .. 'circuit:' .. flow, 'hold_until', 'open_until')
  if circuit[1] and tonumber(circuit[1]) > now then return 'rate', tonumber(circuit[1]) - now end
  if circuit[2] then
    if tonumber(circuit[2]) > now then return 'circuit', tonumber(circuit[2]) - now end
    if redis.call('EXISTS', P .. 'probe:' .. flow) == 1 then return 'circuit', 0 end
  end
  local running = P .. 'running:' .. flow
  if redis.call('ZCARD', running) >= concurrency then
    redis.call('ZREMRANGEBYSCORE', running, '-inf', now)
    if redis.call('ZCARD', running) >= concurrency then return 'concurrency', 0 end
  end
  if rate > 0 then
    -- Generic cell rate algorithm (ITU-T I.371): the theoretical arrival time may run ahead by one second's worth.
    local arrival = tonumber(redis.call('GET', P .. 'rate:' .. flow) or 0)
    local early = arrival - 1000 - now
    if early > 0 then return 'rate', math.ceil(early) end
  end
  return nil, 0, circuit[2]
end

local function take_slot(flow, execution_id, rate, lease_ms, probes, now)
  redis.call('ZADD', P .. 'running:' .. flow, now + lease_ms, execution_id)
  if probes then
    redis.call('SET', P .. 'probe:' .. flow, execution_id, 'PX', lease_ms)
  end
  if rate > 0 then
    local key = P .. 'rate:' .. flow
    local arrival = math.max(tonumber(redis.call('GET', key) or 0), now) + 1000 / rate
    redis.call('SET', key, string.format('%.3f', arrival), 'PX', math.ceil(arrival - now) + 2000)
  end
end

-- Bring parked messages back, as many as may start now, the most urgent and oldest first.
local function pump(flow, domain, concurrency, rate, now)
  local parked = P .. 'parked:' .. flow
  local waiting = redis.call('ZCARD', parked)
  if waiting == 0 then return 0 end
  local reason, _, probes = obstacle(flow, domain, concurrency, rate, now)
  if reason then return 0 end
  local room = concurrency - redis.call('ZCARD', P .. 'running:' .. flow)
  if rate > 0 then room = math.min(room, math.ceil(rate)) end
  if probes then room = 1 end
  local popped = redis.call('ZPOPMIN', parked, math.min(room, waiting, 500))
  for i = 1, #popped, 2 do
    local queue, message = string.match(popped[i], '^([^\n]+)\n(.*)$')
    redis.call('RPUSH', queue, message)
  end
  return #popped / 2
end

-- The circuit: `threshold` transient failures in a row open it for 2, 4, then 8 seconds; one call then probes.
local CIRCUIT_THRESHOLD = 5
local CIRCUIT_OPEN_MS = 2000
local CIRCUIT_OPEN_MAX_MS = 8000

local function call_failed(flow, hold_ms, now)
  local key = P .. 'circuit:' .. flow
  if hold_ms > 0 then redis.call('HSET', key, 'hold_until', now + hold_ms) return end
  local failures = redis.call('HINCRBY', key, 'failures', 1)
  local was_open = redis.call('HEXISTS', key, 'open_until') == 1
  if failures >= CIRCUIT_THRESHOLD or was_open then
    if was_open and tonumber(redis.call('HGET', key, 'open_until')) > now then return end
    local opens = redis.call('HINCRBY', key, 'opens', 1)
    redis.call('HSET', key, 'open_until', now + math.min(CIRCUIT_OPEN_MS * 2 ^ (opens - 1), CIRCUIT_OPEN_MAX_MS))
  end
end

local function count(flow, what, by)
  redis.call('HINCRBY', P .. 'stats:' .. flow, what, by or 1)
end

-- Completions per queue in ten-second buckets: what `retry_after` of a full queue is computed from.
local function drained(queue, now)
  local key = P .. 'drained:' .. queue .. ':' .. math.floor(now / 10000)
  if redis.call('INCR', key) == 1 then redis.call('EXPIRE', key, 90) end
end

local function drained_lately(queue, now)
  local sum = 0
  for bucket = math.floor(now / 10000) - 5, math.floor(now / 10000) do
    sum = sum + tonumber(redis.call('GET', P .. 'drained:' .. queue .. ':' .. bucket) or 0)
  end
  return sum
end

-- Whether an execution is still its query's latest, and nobody else has its lease. One that only ran out, while the
-- broker was away, is still its own: nobody has begun since.
local function holds(held, execution_id, fence)
  if held then return held == execution_id .. '#' .. fence end
  local id, part = split(execution_id)
  return redis.call('HGET', record(id), part == '' and 'fence' or 'fence|' .. part) == fence
end

-- Give back an execution's lease and its place among the flow's calls, and remove other keys with them. Returns whether the
-- lease was its own.
local function give_back(lease, flow, execution_id, fence, others)
  lease = P .. 'lease:' .. lease
  local held, probe = unpack(redis.call('MGET', lease, P .. 'probe:' .. flow))
  if not holds(held, execution_id, fence) then return false end
  redis.call('DEL', lease, probe == execution_id and P .. 'probe:' .. flow or lease, unpack(others or {}))
  redis.call('ZREM', P .. 'running:' .. flow, execution_id)
  return true
end
