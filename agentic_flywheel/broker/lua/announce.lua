-- Say what a worker's registry has, for the others. It is forgotten unless it is said again.
--
-- worker: text
-- kept_ms: whole         for how long it is known
-- names: texts           `flow`, `domain`, `intent` or `profile` before each name
--
--> announced
local key = knows_key(worker)
redis.call('DEL', key)
for _, name in ipairs(names) do redis.call('SADD', key, name) end
redis.call('PEXPIRE', key, kept_ms)
return reply.announced()
