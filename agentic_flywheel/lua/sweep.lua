-- What time brings: deadlines that passed, retries that are due, flows that may be called again.
-- ARGV: limit, the worker ('' for one that traces nothing), number of queues, queues, then quadruples of flow, domain,
-- concurrency, rate.
-- Returns {ids of the queries whose traces this worker owes a root from now on: they expired, were cancelled, or ended in
-- a worker that died before it had sent theirs; moved, pumped, milliseconds until the next known event}.
local limit, worker, queues = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local now = now_ms()
local ended, moved, pumped, soon = {}, 0, 0, 250

for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', now, 'LIMIT', 0, limit)) do
  local state, reason = unpack(redis.call('HMGET', record(id), 'state', 'reason'))
  local stage = state == 'running' and 'its flow was running' or reason and reason ~= '' and 'waiting: ' .. reason
    or 'queued'
  if finalise(id, 'expired', {reason = stage}, now) then
    ended[#ended + 1] = id
    if state ~= 'running' then
      promote(id)
    elseif redis.call('EXISTS', P .. 'followers:' .. id) == 0 then
      redis.call('PUBLISH', P .. 'control', 'cancel ' .. id)
    end
  end
  redis.call('ZREM', P .. 'deadlines', id)
end
while #ended < limit do
  local cancelled = redis.call('LPOP', P .. 'untraced')
  if not cancelled then break end
  ended[#ended + 1] = cancelled
end
if worker ~= '' then
  redis.call('SET', P .. 'alive:' .. worker, '', 'PX', 5000)
  redis.call('SADD', P .. 'tracers', worker)
  for _, other in ipairs(redis.call('SMEMBERS', P .. 'tracers')) do
    if redis.call('EXISTS', P .. 'alive:' .. other) == 0 then
      for _, id in ipairs(redis.call('SPOP', P .. 'roots:' .. other, limit)) do ended[#ended + 1] = id end
      if redis.call('EXISTS', P .. 'roots:' .. other) == 0 then redis.call('SREM', P .. 'tracers', other) end
    end
  end
  if #ended > 0 then redis.call('SADD', P .. 'roots:' .. worker, unpack(ended)) end
  redis.call('EXPIRE', P .. 'roots:' .. worker, 86400)
end
local first = redis.call('ZRANGE', P .. 'deadlines', 0, 0, 'WITHSCORES')
if first[2] then soon = math.min(soon, tonumber(first[2]) - now) end

for i = 4, 3 + queues do
  local delayed = P .. 'delayed:' .. ARGV[i]
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, limit)
  for _, place in ipairs(due) do
    local queue, message = string.match(place, '^([^\n]+)\n(.*)$')
    redis.call('ZREM', delayed, place)
    redis.call('RPUSH', queue, message)
  end
  moved = moved + #due
  local next_due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  if next_due[2] then soon = math.min(soon, tonumber(next_due[2]) - now) end
end

for i = 4 + queues, #ARGV, 4 do
  local flow = ARGV[i]
  if redis.call('EXISTS', P .. 'parked:' .. flow) == 1 then
    redis.call('ZREMRANGEBYSCORE', P .. 'running:' .. flow, '-inf', now)
    pumped = pumped + pump(flow, ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), now)
    soon = math.min(soon, 50)
  end
end
return {ended, moved, pumped, math.max(10, math.ceil(soon))}
