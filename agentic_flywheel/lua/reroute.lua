-- Send an execution to another flow: its own one is down, or gave up, and names a fallback.
-- Returns {'rerouted'} | {'late'} | {'gone'}.
local id, part, fence, lease, flow, domain = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local transient, hold_ms, concurrency, rate = ARGV[7] == '1', tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local fallback, fallback_domain, queue, message, data = ARGV[11], ARGV[12], ARGV[13], ARGV[14], ARGV[15]
local now = now_ms()
local me = execution(id, part)
if fence ~= '0' then
  if not give_back(lease, flow, me, fence) then return {'late'} end
  if transient then call_failed(flow, hold_ms, now) end
  pump(flow, domain, concurrency, rate, now)
end
local key = record(id)
local state = redis.call('HGET', key, 'state')
if not state or TERMINAL[state] then promote(me) return {'gone'} end
if part == '' then
  move_load(redis.call('HGET', key, 'domain'), fallback_domain)
  redis.call('HSET', key, 'state', 'queued', 'reason', '', 'flow', fallback, 'domain', fallback_domain, 'attempts', 0)
else
  redis.call('HDEL', key, 'attempts|' .. part)
end
count(flow, 'fallbacks')
emit(id, 'retrying', data)
redis.call('LPUSH', queue, message)
return {'rerouted'}
