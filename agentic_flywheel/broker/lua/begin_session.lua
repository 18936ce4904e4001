-- Begin a session where there is none.
--
-- session: text
-- asker: text            owner and user
-- life: text             random; its own where it begins now
-- ttl: whole             seconds
--
--> there
local now = now_ms()
begin_session(asker, session, life, ttl, now)
return reply.there()
