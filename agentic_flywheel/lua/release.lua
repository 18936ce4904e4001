-- Give up an execution whose worker hands it back: the next delivery may begin at once.
local id, part, fence, lease, flow, domain = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local concurrency, rate = tonumber(ARGV[7]), tonumber(ARGV[8])
local me = execution(id, part)
if not give_back(lease, flow, me, fence) then return {'late'} end
local state = redis.call('HGET', record(id), 'state')
if not state or TERMINAL[state] then
  promote(me)
else
  redis.call('HINCRBY', record(id), part == '' and 'attempts' or 'attempts|' .. part, -1)
end
pump(flow, domain, concurrency, rate, now_ms())
return {'released'}
