-- May this execution call its flow now? Cache, identical calls under way, admission, in that order.
-- Returns {'run', ABOUT, fence, attempts, fence before} | {'hit', ABOUT, answer} | {'stale', ABOUT, answer, fence}
--         | {'failed', ABOUT, error, failure} | {'exhausted', ABOUT, attempts} | {'attach', leader}
--         | {'busy', milliseconds} | {'park', reason, milliseconds} | {'gone'}
-- where ABOUT is {route, created, routed, started}, times in milliseconds since 1970, '' where not yet.
local id, part, flow, domain, cache_key, lease = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local lease_ms, policy, stale_ms = tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])
local concurrency, rate, attempts_max = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local now = now_ms()
local key = record(id)
local me = execution(id, part)
local suffix = part == '' and '' or '|' .. part
local state, route, created, routed, started, attempts, previous = unpack(redis.call('HMGET', key, 'state', 'route', 'created',
  'routed', 'started', 'attempts' .. suffix, 'fence' .. suffix))
if not state or TERMINAL[state] then promote(me) return {'gone'} end
local about = {route, created, routed or '', started or ''}
if part ~= '' and redis.call('HEXISTS', P .. 'parts:' .. id, part) == 1 then return {'gone'} end

local stale
local held, answer, failure = unpack(redis.call('MGET', P .. 'lease:' .. lease, cache_key, P .. 'failure:' .. cache_key))
if cache_key ~= '' and policy == 'use' then
  if answer then
    if fresh(cache_key, stale_ms) then
      count(flow, 'hits')
      return {'hit', about, answer}
    end
    stale = answer
  end
  if failure and not stale then
    count(flow, 'failure_hits')
    local split_at = string.find(failure, '\n', 1, true)
    return {'failed', about, string.sub(failure, 1, split_at - 1), string.sub(failure, split_at + 1)}
  end
end

if held then
  local leader = string.match(held, '^(.-)#')
  if stale then
    count(flow, 'stale')
    return {'stale', about, stale, '0'}
  end
  if leader == me then return {'busy', redis.call('PTTL', P .. 'lease:' .. lease)} end
  return {'attach', leader}
end

local reason, wait, probes = obstacle(flow, domain, concurrency, rate, now)
if reason then
  if stale then
    count(flow, 'stale')
    return {'stale', about, stale, '0'}
  end
  return {'park', reason, wait}
end

attempts = tonumber(attempts or 0) + 1
-- Far more beginnings than attempts: the message kills whoever touches it.
if attempts > attempts_max and not stale then return {'exhausted', about, attempts} end
-- The renewal of a stale answer runs under a name of its own: its query is answered already.
if stale then me = execution(id, '~refresh.' .. flow) end
local fence = redis.call('INCR', P .. 'fence')
redis.call('SET', P .. 'lease:' .. lease, me .. '#' .. fence, 'PX', lease_ms)
take_slot(flow, me, rate, lease_ms, probes, now)
if stale then
  count(flow, 'stale')
  return {'stale', about, stale, tostring(fence)}
end
if policy ~= 'bypass' and cache_key ~= '' then count(flow, 'misses') end
redis.call('HSET', key, 'state', 'running', 'reason', '', 'attempts' .. suffix, attempts, 'fence' .. suffix, fence,
  'started', started or now)
emit(id, 'started', '{"flow":"' .. flow .. '","attempt":' .. attempts .. '}')
return {'run', about, tostring(fence), attempts, previous or ''}
