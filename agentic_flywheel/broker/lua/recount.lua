-- Count anew what an owner has under way: whether one query belongs to it, and the sum of all bytes.
--
-- owner: text
-- id: text               '' for the sum alone
--
--> counted(open: whole, bytes: whole)
if id ~= '' then
  local state, whose, bytes = unpack(redis.call('HMGET', record_key(id), 'state', 'owner', 'bytes'))
  if state and not TERMINAL[state] and state ~= STATE.input_required and whose == owner and bytes then
    redis.call('HSET', underway_key(owner), id, bytes)
  else
    redis.call('HDEL', underway_key(owner), id)
  end
end
local sum = 0
for _, bytes in ipairs(redis.call('HVALS', underway_key(owner))) do sum = sum + tonumber(bytes) end
redis.call('DEL', underway_bytes_key(owner))
if sum > 0 then redis.call('SET', underway_bytes_key(owner), sum) end
return reply.counted(redis.call('HLEN', underway_key(owner)), sum)
