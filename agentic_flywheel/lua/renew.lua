-- Renew the leases of one worker's executions: triples of execution, lease#fence, flow.
-- Returns those that it must stop: the lease is another's now, or the query has ended and nobody waits for it.
local lease_ms = tonumber(ARGV[1])
local now = now_ms()
local lost = {}
for i = 2, #ARGV, 3 do
  local me, held, flow = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local lease, fence = string.match(held, '^(.*)#(%d+)$')
  local id, part = split(me)
  local state = redis.call('HGET', record(id), 'state')
  local wanted = renewal(part) or state and not TERMINAL[state] or redis.call('EXISTS', P .. 'followers:' .. me) == 1
  if holds(redis.call('GET', P .. 'lease:' .. lease), me, fence) and wanted then
    redis.call('SET', P .. 'lease:' .. lease, me .. '#' .. fence, 'PX', lease_ms)
    redis.call('ZADD', P .. 'running:' .. flow, now + lease_ms, me)
    if redis.call('GET', P .. 'probe:' .. flow) == me then redis.call('PEXPIRE', P .. 'probe:' .. flow, lease_ms) end
  else
    lost[#lost + 1] = me
  end
end
return lost
