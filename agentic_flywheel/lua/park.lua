-- Keep a message beside its queue until the flow may be called again; or bring it back at once if it may already.
-- Returns {'parked'} | {'gone'}.
local id, part, flow, domain, reason = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local rank, place, concurrency, rate = tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9])
local state = redis.call('HGET', record(id), 'state')
if not state or TERMINAL[state] then promote(execution(id, part)) return {'gone'} end
local now = now_ms()
if part == '' then
  redis.call('HSET', record(id), 'state', 'waiting', 'reason', reason)
  emit(id, 'waiting', cjson.encode({reason = reason}))
end
redis.call('ZADD', P .. 'parked:' .. flow, rank * 1e13 + now, place)
pump(flow, domain, concurrency, rate, now)
return {'parked'}
