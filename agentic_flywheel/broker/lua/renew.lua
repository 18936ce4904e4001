-- Renew the leases of one worker's executions.
--
-- lease_ms: whole
-- executions: texts      their names
-- leases: texts          the lease of each
-- fences: texts          the fence of each
-- flows: texts           the flow of each
-- servers: texts         the server of each
--
-- Those that must stop: the lease is another's, or the query has ended and nobody waits for it; what failed, in words: the
-- others were renewed all the same.
--> renewed(lost: texts, faults: texts)
local now = now_ms()
local lost = {}
local function renew(i, me)
  local lease, probe = lease_key(leases[i]), probe_key(flows[i])
  local id, part = split(me)
  local state = redis.call('HGET', record_key(id), 'state')
  local wanted = renewal(part) or state and not TERMINAL[state] or followed(me)
  if has_lease(redis.call('GET', lease), me, fences[i]) and wanted then
    redis.call('SET', lease, me .. '#' .. fences[i], 'PX', lease_ms)
    redis.call('ZADD', running_key(flows[i]), now + lease_ms, me)
    redis.call('ZADD', serving_key(servers[i]), now + lease_ms, me)
    if redis.call('GET', probe) == me then redis.call('PEXPIRE', probe, lease_ms) end
  else
    lost[#lost + 1] = me
  end
end
for i, me in ipairs(executions) do alone('execution ' .. me, function() renew(i, me) end) end
return reply.renewed(lost, faults)
