-- Accept a query: answer from the cache front, attach to an identical one under way, or record and enqueue.
-- Returns {'hit', cache key, answer} | {'attached', leader} | {'accepted'} | {'exists'} | {'full', length, drained/min}
--         | {'foreign'} where the session belongs to somebody else
--         | {'profiled', profile} where the session carries a profile and the query names none: submit it with that one.
local id, owner, query, front, queue, message = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local limit, deadline, ttl, policy, priority = tonumber(ARGV[7]), ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local session, session_ttl, turns, domain, profile = ARGV[12], ARGV[13], ARGV[14], ARGV[15], ARGV[16]
local now = now_ms()
local key = record(id)
if redis.call('EXISTS', key) == 1 then return {'exists'} end

local held = false
if session ~= '' then
  local holder, carried = unpack(redis.call('HMGET', P .. 'session:' .. session, 'owner', 'profile'))
  if holder and holder ~= owner then return {'foreign'} end
  if carried and profile == '' then return {'profiled', carried} end
  if not holder then
    redis.call('HSET', P .. 'session:' .. session, 'owner', owner, 'created', now)
    redis.call('EXPIRE', P .. 'session:' .. session, session_ttl)
    own('sessions', owner, session, session_ttl, now)
  end
  held = redis.call('EXISTS', P .. 'line:' .. session) == 1
  -- Inside a conversation the answer depends on what was said: no front.
  if held or redis.call('EXISTS', P .. 'turns:' .. session) == 1 then front = '' end
end

local leader
if front ~= '' and policy == 'use' then
  local memo, flight = unpack(redis.call('MGET', P .. 'front:' .. front, P .. 'flight:' .. front))
  if memo then
    local cache_key, stale, flow = string.match(memo, '^([^\n]+)\n(%d+)\n(.*)$')
    local answer = redis.call('GET', cache_key)
    -- Past its TTL a worker serves it, and renews it.
    if answer and fresh(cache_key, tonumber(stale)) then
      count(flow, 'hits')
      tally(flow, owner, nil, 'cached', nil, now, nil, now)
      redis.call('HSET', key, 'owner', owner, 'state', 'succeeded', 'query', query, 'created', now, 'finished', now,
        'ttl', ttl, 'cache_key', cache_key, 'flow', flow)
      if session ~= '' then
        redis.call('HSET', key, 'session', session, 'session_ttl', session_ttl, 'turns', turns)
        append_turn(session, id, answer, false, now)
      end
      own('owned', owner, id, ttl, now)
      redis.call('EXPIRE', key, math.min(tonumber(ttl), 3600))
      return {'hit', cache_key, answer}
    end
  end
  leader = flight
  if leader then
    local state, rank = unpack(redis.call('HMGET', record(leader), 'state', 'priority'))
    -- A more urgent query does not wait for one in a slower band, unless that one runs already.
    local slower = rank == 'low' and priority ~= 'low' or rank == 'normal' and priority == 'high'
    if not state or TERMINAL[state] or leader == id or (slower and state ~= 'running') then leader = nil end
  end
end

local under_way = redis.call('HINCRBY', LOAD, '*', 1)
if domain ~= '' then under_way = redis.call('HINCRBY', LOAD, domain, 1) end
if under_way > limit then
  redis.call('HINCRBY', LOAD, '*', -1)
  move_load(domain ~= '' and domain, nil)
  return {'full', under_way - 1, drained_lately(domain == '' and 'classify' or 'domain.' .. domain, now)}
end

local fields = {'owner', owner, 'state', 'pending', 'query', query, 'created', now, 'ttl', ttl, 'priority', priority}
local function put(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
if front ~= '' then put('front', front) end
if session ~= '' then put('session', session) put('session_ttl', session_ttl) put('turns', turns) end
if deadline ~= '' then put('deadline', deadline) end
if domain ~= '' then put('domain', domain) end
redis.call('HSET', key, unpack(fields))
own('owned', owner, id, ttl, now)
if deadline ~= '' then redis.call('ZADD', P .. 'deadlines', deadline, id) end

if leader then
  count(redis.call('HGET', record(leader), 'flow') or '(unrouted)', 'attached')
  attach(id, leader, queue .. '\n' .. message, now)
  copy_tokens(id, leader)
  if session ~= '' then redis.call('RPUSH', P .. 'line:' .. session, id) end
  return {'attached', leader}
end
if front ~= '' and policy ~= 'bypass' then redis.call('SET', P .. 'flight:' .. front, id) end
if session ~= '' then
  redis.call('RPUSH', P .. 'line:' .. session, id)
  if held then
    redis.call('HSET', P .. 'held:' .. session, id, queue .. '\n' .. message)
    redis.call('HSET', key, 'state', 'waiting', 'reason', 'session')
    return {'accepted'}
  end
end
redis.call('LPUSH', queue, message)
return {'accepted'}
