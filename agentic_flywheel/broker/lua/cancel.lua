-- Cancel queries. What runs is cut unless others wait for the same answer; what waits never starts.
-- The ids go on a list, from which a worker takes each once to trace it: only workers know the steps of a query.
--
-- owner: text            '' for any
-- asker: text            owner and user; '' where no user is named
-- reason: text
-- ids: texts
--
--> cancelled(states: texts)   the state of each before, 'unknown' where it is not the asker's
local now = now_ms()
local states = {}
for i, id in ipairs(ids) do
  local state, holder, named = unpack(redis.call('HMGET', record_key(id), 'state', 'owner', 'asker'))
  if not state or not belongs(holder, named, owner, asker) then
    states[i] = 'unknown'
  else
    states[i] = state
    if finalise(id, STATE.cancelled, {reason = reason}, now) then
      redis.call('RPUSH', UNTRACED, id)
      cut_or_promote(id, state)
    end
  end
end
redis.call('LTRIM', UNTRACED, -10000, -1)
return reply.cancelled(states)
