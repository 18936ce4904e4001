#!lua flags=allow-oom
-- Renew the leases of messages. A lease that is gone is not made again.
--
-- tags: texts
--
--> stamped
local now = now_ms() / 1000
for _, tag in ipairs(tags) do redis.call('ZADD', UNACKED_INDEX, 'XX', now, tag) end
return reply.stamped()
