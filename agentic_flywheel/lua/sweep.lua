-- What time brings: deadlines that passed, retries that are due, flows that may be called again.
-- ARGV: limit, number of queues, queues, then quadruples of flow, domain, concurrency, rate.
-- Returns {ids of the queries that expired or were cancelled, each told once; moved, pumped, milliseconds until the next
-- known event}.
local limit, queues = tonumber(ARGV[1]), tonumber(ARGV[2])
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
local first = redis.call('ZRANGE', P .. 'deadlines', 0, 0, 'WITHSCORES')
if first[2] then soon = math.min(soon, tonumber(first[2]) - now) end

for i = 3, 2 + queues do
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

for i = 3 + queues, #ARGV, 4 do
  local flow = ARGV[i]
  if redis.call('EXISTS', P .. 'parked:' .. flow) == 1 then
    redis.call('ZREMRANGEBYSCORE', P .. 'running:' .. flow, '-inf', now)
    pumped = pumped + pump(flow, ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), now)
    soon = math.min(soon, 50)
  end
end
return {ended, moved, pumped, math.max(10, math.ceil(soon))}
