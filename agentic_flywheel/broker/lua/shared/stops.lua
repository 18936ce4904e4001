-- Executions whose flow has stopped and asks a person. A record has for such an execution (of a part: behind `|part`)
--   asks     number of the stop, since when, until when (milliseconds since 1970), what is asked (JSON), the place to come
--            back to: a line each
--   run      the run that has stopped last: chat, flow's id and server, a space between
--   decided  number, decision, since when it had waited, when it was decided, what was asked, feedback: of the last decision,
--            which its next call carries out
-- and for the whole query `unshared`, where the call that it waited for has stopped; `stops`, the last number; `decision|number`, each decision with its feedback; `asked`, since when
-- the query waits for a person; `person_ms`, for how long it did before.

local function asks_field(part) return part == '' and 'asks' or 'asks|' .. part end

local function run_field(part) return part == '' and 'run' or 'run|' .. part end

-- Whether an execution waits for a person: until the decision there is nothing to do for it.
local function asks(id, part) return redis.call('HEXISTS', record_key(id), asks_field(part)) == 1 end

-- The fields of a record in which its executions ask.
local function asking_fields(id)
  local fields = {}
  for _, field in ipairs(redis.call('HKEYS', record_key(id))) do
    if field == 'asks' or string.sub(field, 1, 5) == 'asks|' then fields[#fields + 1] = field end
  end
  return fields
end

-- Write a step of an execution, unless it is a part's and another part asks a person: that is what the query then shows.
local function show(id, part, ...)
  if part == '' or not redis.call('ZSCORE', ASKED, id) then redis.call('HSET', record_key(id), ...) end
end

-- Have a query wait for a person until `till`. It then has no place in any limit but that of such queries.
local function put_aside(id, till, now)
  if redis.call('ZADD', ASKED, 'NX', till, id) == 0 then return end
  local owner, bytes, domain = unpack(redis.call('HMGET', record_key(id), 'owner', 'bytes', 'domain'))
  if bytes then lay_down(id, owner, bytes) end
  move_domain(id, domain, nil)
  redis.call('HSET', record_key(id), 'asked', now)
end

-- A query does not wait for a person any more: it is counted again.
local function take_back(id, now)
  local key = record_key(id)
  redis.call('ZREM', ASKED, id)
  local owner, bytes, domain, asked = unpack(redis.call('HMGET', key, 'owner', 'bytes', 'domain', 'asked'))
  if bytes then take_up(id, owner, 1, tonumber(bytes), tonumber(bytes)) end
  move_domain(id, nil, domain)
  redis.call('HINCRBY', key, 'person_ms', now - (asked or now))
  redis.call('HSET', key, 'resumed', now)
  redis.call('HDEL', key, 'asked')
end
