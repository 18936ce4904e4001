-- Cancel queries. What runs is cut unless others wait for the same answer; what waits never starts.
-- The ids go on a list, from which a worker takes each once to trace it: the steps of a query and its end belong in one
-- place, and only workers know which.
-- ARGV: owner ('' for any), reason, ids. Returns per id its state before, 'unknown' where it is not the owner's.
local owner, reason = ARGV[1], ARGV[2]
local now = now_ms()
local out = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local state, holder = unpack(redis.call('HMGET', record(id), 'state', 'owner'))
  if not state or (owner ~= '' and holder ~= owner) then
    out[#out + 1] = 'unknown'
  else
    out[#out + 1] = state
    if finalise(id, 'cancelled', {reason = reason}, now) then
      redis.call('RPUSH', P .. 'untraced', id)
      local followed = redis.call('EXISTS', P .. 'followers:' .. id) == 1
      if state ~= 'running' then
        promote(id)
      elseif not followed then
        redis.call('PUBLISH', P .. 'control', 'cancel ' .. id)
      end
    end
  end
end
redis.call('LTRIM', P .. 'untraced', -10000, -1)
return out
