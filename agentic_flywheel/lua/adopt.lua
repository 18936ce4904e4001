-- Record a query that a plain Celery client sent to `flywheel.classify`, so that it is one like any other.
-- Returns {'adopted'} | {'held'} (an earlier turn of its session is under way; the message waits) | {'exists'} | {'foreign'}.
local id, owner, query, queue, message, deadline = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local ttl, priority, session, session_ttl, turns = ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local now = now_ms()
local key = record(id)
if redis.call('EXISTS', key) == 1 then return {'exists'} end
local foreign = false
if session ~= '' then
  local holder = redis.call('HGET', P .. 'session:' .. session, 'owner')
  foreign = holder and holder ~= owner
end
redis.call('HSET', key, 'state', 'pending', 'owner', owner, 'query', query, 'created', now, 'ttl', ttl,
  'priority', priority)
own('owned', owner, id, ttl, now)
redis.call('HINCRBY', LOAD, '*', 1)
if foreign then return {'foreign'} end
if deadline ~= '' then
  redis.call('HSET', key, 'deadline', deadline)
  redis.call('ZADD', P .. 'deadlines', deadline, id)
end
if session == '' then return {'adopted'} end
redis.call('HSET', key, 'session', session, 'session_ttl', session_ttl, 'turns', turns)
if redis.call('HSETNX', P .. 'session:' .. session, 'owner', owner) == 1 then
  redis.call('HSET', P .. 'session:' .. session, 'created', now)
  own('sessions', owner, session, session_ttl, now)
end
redis.call('EXPIRE', P .. 'session:' .. session, session_ttl)
redis.call('RPUSH', P .. 'line:' .. session, id)
if redis.call('LLEN', P .. 'line:' .. session) == 1 then return {'adopted'} end
redis.call('HSET', P .. 'held:' .. session, id, queue .. '\n' .. message)
redis.call('HSET', key, 'state', 'waiting', 'reason', 'session')
return {'held'}
