-- Expire overdue queries and those that no person has decided, requeue due retries, put parked messages back, move what plain
-- Celery clients sent with a priority into the queues, and take over the traces of dead workers.
--
-- limit: whole           most entries of a kind in one sweep
-- worker: text           who sweeps
-- traces: flag           whether it sends traces
-- reads: text            the queues that it reads, one a line
-- flows: texts           those of the registry
-- domains: texts         the domain of each flow
-- concurrencies: wholes  the limit of each flow
-- rates: numbers         the limit of each flow
-- servers: texts         where each flow is
-- at_once: wholes        calls at once of the server of each flow, of all its flows
--
-- The queries whose traces this worker owes a root from now on (they expired, were cancelled, or ended in a worker that died);
-- when the next sweep is due; what failed, in words: the rest was done all the same.
--> swept(ended: texts, next_ms: whole, faults: texts)
local now = now_ms()
local ended, soon = {}, 250

for _, id in ipairs(redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', now, 'LIMIT', 0, limit)) do
  redis.call('ZADD', DEADLINES, now + UNUSABLE_MS, id)  -- where the rest fails
  alone('query ' .. id, function()
    local state, reason = unpack(redis.call('HMGET', record_key(id), 'state', 'reason'))
    local stage = state == STATE.running and 'its flow was running'
      or state == STATE.input_required and 'a person was asked, and did not decide'
      or reason and reason ~= '' and 'waiting: ' .. reason or 'queued'
    if seldom.finalise(id, STATE.expired, {reason = stage}, now) then
      ended[#ended + 1] = id
      seldom.cut_or_promote(id, state)
    end
    redis.call('ZREM', DEADLINES, id)
  end)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', ASKED, '-inf', now, 'LIMIT', 0, limit)) do
  redis.call('ZADD', ASKED, now + UNUSABLE_MS, id)  -- where the rest fails
  alone('query ' .. id, function()
    if seldom.finalise(id, STATE.expired, {reason = 'a person was asked, and did not decide'}, now) then
      ended[#ended + 1] = id
    end
    redis.call('ZREM', ASKED, id)
  end)
end
while #ended < limit do
  local cancelled = redis.call('LPOP', UNTRACED)
  if not cancelled then break end
  ended[#ended + 1] = cancelled
end
redis.call('HSET', alive_key(worker), 'version', VERSION, 'reads', reads)
redis.call('PEXPIRE', alive_key(worker), 5000)
redis.call('SADD', WORKERS, worker)
for _, other in ipairs(redis.call('SMEMBERS', WORKERS)) do
  if redis.call('EXISTS', alive_key(other)) == 0 then
    alone('worker ' .. other, function()
      for _, id in ipairs(traces and redis.call('SPOP', roots_key(other), limit) or {}) do ended[#ended + 1] = id end
    end)
    if redis.call('EXISTS', roots_key(other)) == 0 then redis.call('SREM', WORKERS, other) end
  end
end
for _, source in ipairs(redis.call('SRANDMEMBER', SETTLING, 1)) do
  alone('followers of ' .. source, function()
    local stored = redis.call('GET', settling_key(source))
    if stored then
      local known = cjson.decode(stored)
      seldom.settle_some(source, known.state, known.outcome, now, ended, SETTLED_AT_ONCE)
    end
    if redis.call('EXISTS', followers_key(source)) == 0 or not stored then
      redis.call('SREM', SETTLING, source)
      redis.call('DEL', settling_key(source))
    end
    soon = math.min(soon, 10)
  end)
end
if traces then
  if #ended > 0 then redis.call('SADD', roots_key(worker), unpack(ended)) end
  redis.call('EXPIRE', roots_key(worker), 86400)
end
local first = redis.call('ZRANGE', DEADLINES, 0, 0, 'WITHSCORES')
if first[2] then soon = math.min(soon, tonumber(first[2]) - now) end

for _, base in ipairs(redis.call('SMEMBERS', DELAYED_QUEUES)) do
  local delayed = delayed_key(base)
  alone(delayed, function()
    for _, waiting in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, limit)) do
      redis.call('ZREM', delayed, waiting)
      seldom.bring_back(waiting)
    end
    local next_due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
    if next_due[2] then
      soon = math.min(soon, tonumber(next_due[2]) - now)
    else
      redis.call('SREM', DELAYED_QUEUES, base)
    end
  end)
end

-- A priority that a plain client gave is not as urgent as none: 0 is the most urgent one on Redis.
local is_read, left = {}, limit
for queue in string.gmatch(reads, '[^\n]+') do is_read[queue] = true end
for queue in pairs(is_read) do
  local backlog, lists = backlog_key(queue), {}
  for priority = 1, 9 do lists[priority] = queue .. PRIORITY_MARK .. priority end
  -- Mostly there is none of these.
  if redis.call('EXISTS', backlog, rotation_key(backlog), unpack(lists)) > 0 then
    seldom.move_up(queue)  -- for workers of an earlier version, which know of no backlog
    if not seldom.has_backlog(queue) then redis.call('DEL', rotation_key(backlog)) end
    local low = is_read[queue .. '.low'] and queue .. '.low' or queue
    for priority, list in ipairs(lists) do
      local to = priority < LOW_FROM and queue or low
      while left > 0 and type(redis.pcall('LMOVE', list, to, 'RIGHT', 'LEFT')) == 'string' do left = left - 1 end
    end
  end
end
if left == 0 then soon = 10 end

local known, asked = {}, {}
for i, flow in ipairs(flows) do known[flow] = i end
local parked = redis.call('HKEYS', PARKED_FLOWS)
for _, flow in ipairs(parked) do
  alone('flow ' .. flow, function()
    local i = known[flow]
    if i then
      redis.call('HSET', PARKED_FLOWS, flow, seldom.limits(domains[i], concurrencies[i], rates[i], servers[i]))
      asked[servers[i]] = at_once[i]
      redis.call('ZREMRANGEBYSCORE', running_key(flow), '-inf', now)
    elseif not seldom.is_served(0, {'flow ' .. flow}, '') then
      -- The flow has left all registries: who is asked for it next says so.
      local popped = redis.call('ZPOPMIN', parked_key(flow), limit)
      for at = 1, #popped, 2 do seldom.bring_back(popped[at]) end
    end
  end)
end
for server, most in pairs(asked) do alone('server ' .. server, function() seldom.pump(server, most, now) end) end
for _, flow in ipairs(parked) do
  if redis.call('EXISTS', parked_key(flow)) == 1 then
    if known[flow] then soon = math.min(soon, 50) end
  else
    redis.call('HDEL', PARKED_FLOWS, flow)
    redis.call('DEL', rotation_key(parked_key(flow)))
  end
end
return reply.swept(ended, math.max(10, math.ceil(soon)), faults)
