-- Append a batch of tokens to a query's stream, and to the streams of those attached to it.
local id, part, fence, lease, data = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local me = execution(id, part)
if not holds(redis.call('GET', P .. 'lease:' .. lease), me, fence) then return 0 end
local state = redis.call('HGET', record(id), 'state')
if state and not TERMINAL[state] then emit(id, 'token', data) end
if redis.call('EXISTS', P .. 'followers:' .. me) == 1 then
  for _, follower in ipairs(redis.call('HKEYS', P .. 'followers:' .. me)) do
    local follower_id, follower_part = split(follower)
    if follower_part == '' then emit(follower_id, 'token', data) end
  end
end
return 1
