-- Put an execution off: before a retry, or while another delivery of the same message runs.
-- `fence` 0: there is no lease to give up. Returns {'deferred'} | {'late'} | {'gone'} | {'expired'}.
local id, part, fence, lease, flow, domain = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local base, place, delay, reason, data = ARGV[7], ARGV[8], tonumber(ARGV[9]), ARGV[10], ARGV[11]
local transient, hold_ms, concurrency, rate = ARGV[12] == '1', tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
local uncounted = ARGV[16] == '1'
local now = now_ms()
local me = execution(id, part)
if fence ~= '0' then
  if not give_back(lease, flow, me, fence) then return {'late'} end
  if transient then call_failed(flow, hold_ms, now) end
  pump(flow, domain, concurrency, rate, now)
end
local key = record(id)
local state, deadline = unpack(redis.call('HMGET', key, 'state', 'deadline'))
if not state or TERMINAL[state] then promote(me) return {'gone'} end
if uncounted then redis.call('HINCRBY', key, part == '' and 'attempts' or 'attempts|' .. part, -1) end
if reason ~= '' then
  redis.call('HSET', key, 'state', 'waiting', 'reason', reason)
  emit(id, 'retrying', data)
end
redis.call('ZADD', P .. 'delayed:' .. base, now + delay, place)
return {'deferred'}
