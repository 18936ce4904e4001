-- Store the route and enqueue what answers: one message, or one per part and the synthesis that follows them.
-- Atomic, so a redelivered classification enqueues nothing twice.
-- Returns {'routed', created} | {'already'} | {'gone'} | {'unknown'}.
local id, route, flow, domain, event, synthesis = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local key = record(id)
local state, domain_before, created = unpack(redis.call('HMGET', key, 'state', 'domain', 'created'))
if not state then return {'unknown'} end
if TERMINAL[state] then promote(id) return {'gone'} end
if state ~= 'pending' then return {'already'} end
local now = now_ms()
move_load(domain_before, domain)
redis.call('HSET', key, 'state', 'queued', 'route', route, 'flow', flow, 'domain', domain, 'routed', now)
if synthesis ~= '' then
  redis.call('HSET', key, 'parts', (#ARGV - 6) / 2, 'synthesis', synthesis)
end
emit(id, 'routed', event)
for i = 7, #ARGV, 2 do redis.call('LPUSH', ARGV[i], ARGV[i + 1]) end
drained('classify', now)
return {'routed', created}
