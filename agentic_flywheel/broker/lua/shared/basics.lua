-- Time, names and event streams. Each script gets the paragraphs that it uses (see `declaration.py`). One Redis, not a
-- cluster: keys are built from ids. Time is the server's, so a worker with a wrong clock decides nothing.

local STREAM_CAP = 5000

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Whether a value that exists is within its TTL. A value without a TTL was put there by hand; it is fresh.
local function fresh(key, stale_ms)
  if stale_ms == 0 then return true end
  local left = redis.call('PTTL', key)
  return left == -1 or left >= stale_ms
end

-- The name of an execution: the query's id, or `id|part` for one part of a fan-out.
local function execution(id, part)
  if part == '' then return id end
  return id .. '|' .. part
end

local function split(execution_name)
  local id, part = string.match(execution_name, '^([^|]+)|(.+)$')
  if id then return id, part end
  return execution_name, ''
end

-- Whether an execution only renews a cached answer: its query was answered with the stale one.
local function renewal(part) return string.sub(part, 1, #RENEWAL) == RENEWAL end

-- Whether an execution of a query has ended, or that query has: it tells nobody its end any more. A renewal goes on behind
-- the end of its query.
local function has_ended(execution_name)
  local id, part = split(execution_name)
  if renewal(part) then return false end
  local state = redis.call('HGET', record_key(id), 'state')
  return not state or TERMINAL[state] or part ~= '' and redis.call('HEXISTS', parts_key(id), part) == 1
end

-- Tell who listens. It is refused where the server's user may not use the channel; an error here would leave a script half
-- done. Whoever waits looks by itself, too.
local function publish(channel, text) redis.pcall('PUBLISH', channel, text) end

-- What failed of what must not keep other things from being done, in words: see `alone`.
local faults = {}

-- Do one of many things: an error of it, such as a key that another program has made one of another type, must not keep the
-- others from being done. Returns what `act` returns; nothing where it fails. What the server refuses to all, such as a write
-- while its disk is full, is an error of the whole script: its caller has it repeated.
local function alone(what, act)
  local done, result = pcall(act)
  if done then return result end
  local said = type(result) == 'table' and result.err or tostring(result)
  local refusal = string.match(said, '^%-?(%u%u%u+ .*)$') or string.match(said, ': %-?(%u%u%u+ .*)$')
  local code = refusal and string.match(refusal, '^%u+')
  -- Before version 7, a server takes texts alone for errors.
  if code and code ~= 'WRONGTYPE' and code ~= 'ERR' then error(redis.REDIS_VERSION_NUM and {err = refusal} or said, 0) end
  faults[#faults + 1] = what .. ': ' .. said
end

local function emit(id, kind, data)
  redis.call('XADD', events_key(id), 'MAXLEN', '~', STREAM_CAP, '*', 'kind', kind, 'data', data)
  publish(news_channel(id), kind)
end

-- Queries that one look takes.
local LOOKED_AT = 50

-- Of these queries, those whose records were removed before they had ended, such as by another program. They are counted
-- until somebody is refused because of it: then some of what is counted is looked at.
local function removed_among(ids)
  local gone = {}
  for _, id in ipairs(ids) do
    if redis.call('EXISTS', record_key(id)) == 0 then gone[#gone + 1] = id end
  end
  return gone
end

-- Note in which domain an open query is.
local function move_domain(id, from, to)
  if from == to then return end
  if from then redis.call('SREM', open_in_key(from), id) end
  if to then redis.call('SADD', open_in_key(to), id) end
end

-- Drop some of those from what is counted as open, in a domain too where one is named; return how many of them.
local function drop_removed(domain)
  local counted = domain ~= '' and redis.call('SRANDMEMBER', open_in_key(domain), LOOKED_AT)
    or redis.call('ZRANDMEMBER', OPEN, LOOKED_AT)
  local gone = removed_among(counted)
  for _, id in ipairs(gone) do
    redis.call('ZREM', OPEN, id)
    if domain ~= '' then redis.call('SREM', open_in_key(domain), id) end
  end
  return #gone
end

-- The same of those that wait for a person.
local function drop_removed_asking()
  local gone = removed_among(redis.call('ZRANDMEMBER', ASKED, LOOKED_AT))
  for _, id in ipairs(gone) do redis.call('ZREM', ASKED, id) end
  return #gone
end

-- Add a name to what an owner has: queries by the time of submission, sessions by that of their last turn. Names older
-- than twice the TTL are removed, since a query may wait for one TTL before it ends and its own TTL begins; those of the
-- last minute are kept, since they are counted.
local function own(key, name, ttl, now)
  redis.call('ZADD', key, now, name)
  local kept = math.max(2 * ttl, 60)
  -- True once a second at most.
  if redis.call('TTL', key) < kept then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - 1000 * kept)
    redis.call('EXPIRE', key, kept)
  end
end

-- Add a query to what its owner has, and to what its user has where one is named.
local function own_query(id, owner, asker, ttl, now)
  own(owned_key(owner), id, ttl, now)
  if asker ~= '' then own(owned_key(asker), id, ttl, now) end
end

-- Whether a record's fields are those of a query that this asker may see; an owner of '' may see all.
local function belongs(holder, named, owner, asker)
  return owner == '' or (holder == owner and (asker == '' or named == asker))
end

local function count(flow, what, by)
  redis.call('HINCRBY', stats_key(flow), what, by or 1)
end

-- Completions of a queue in ten-second buckets: `retry_after` of a full queue is computed from them.
local function drained(queue, now)
  local key = drained_key(queue .. ':' .. math.floor(now / 10000))
  if redis.call('INCR', key) == 1 then redis.call('EXPIRE', key, 90) end
end

-- Completions of a queue within the last minute.
local function drained_lately(queue, now)
  local sum = 0
  for bucket = math.floor(now / 10000) - 5, math.floor(now / 10000) do
    sum = sum + tonumber(redis.call('GET', drained_key(queue .. ':' .. bucket)) or 0)
  end
  return sum
end
