-- Which cached answers are kept: those that were used last, up to a number of bytes of each flow and of all together. A list
-- for each flow has them as `bytes key`, by their last use. One that was deleted or has expired counts until it is met.

-- Bytes of an answer beside its value and its key: its entries in the server's tables and in its list, and the memo of its
-- question. `python -m benchmarks.memory` shows them.
local BESIDE_ANSWER = 600
-- How long a query that was answered at once, by `submit`, has its answer from here alone.
local PROMISED_MS = 3600000
-- Most answers that make room for one; and how many of the least recently used are looked at for one that may.
local MADE_ROOM, CANDIDATES = 50, 20

local function list_of(key) return cached_key(string.match(key, '^(.*):')) end

local function bytes_of(entry)
  local bytes, key = string.match(entry, '^(%d+) (.+)$')
  return tonumber(bytes), key
end

-- Returns the bytes of the list, and of all.
local function count_bytes(list, bytes)
  return redis.call('HINCRBY', CACHED_BYTES, list, bytes), redis.call('HINCRBY', CACHED_BYTES, '', bytes)
end

-- Note that an answer was used, so that a record may have it from here alone. Half a millisecond says so.
local function use_answer(key, value, now)
  redis.call('ZADD', list_of(key), 'XX', now + 0.5, #value .. ' ' .. key)
end

-- Take an entry from its list, and its answer from the cache where that is still there.
local function drop_answer(list, entry)
  local bytes, key = bytes_of(entry)
  redis.call('ZREM', list, entry)
  if redis.call('STRLEN', key) == bytes then redis.call('UNLINK', key) end
  count_bytes(list, -(bytes + #key + BESIDE_ANSWER))
end

-- Take an earlier answer of so many bytes from its list.
local function forget_former(list, key, bytes)
  local entry = bytes .. ' ' .. key
  if redis.call('ZSCORE', list, entry) then drop_answer(list, entry) end
end

-- Drop the answer of a list that was used least recently, and that no record needs. Returns whether there was one.
local function make_room(list, now)
  local found = redis.call('ZRANGE', list, 0, CANDIDATES - 1, 'WITHSCORES')
  for at = 1, #found, 2 do
    local bytes, key = bytes_of(found[at])
    local used = tonumber(found[at + 1])
    if used % 1 == 0 or used < now - PROMISED_MS or redis.call('STRLEN', key) ~= bytes then
      drop_answer(list, found[at])
      return true
    end
  end
  return false
end

-- The list whose least recently used answer is the oldest of all; nil where there is none.
local function oldest_list()
  local oldest, at
  for _, list in ipairs(redis.call('HKEYS', CACHED_BYTES)) do
    local first = list ~= '' and redis.call('ZRANGE', list, 0, 0, 'WITHSCORES')[2]
    if first and (not at or tonumber(first) < at) then oldest, at = list, tonumber(first) end
  end
  return oldest
end

-- Cache an answer, and drop others where there are too many bytes of its flow, or of all; 0: as many as there are.
local function keep_answer(key, value, ms, flow_most, all_most, now)
  local list, bytes = list_of(key), #value + #key + BESIDE_ANSWER
  -- It would drive out all others, and then itself.
  if flow_most > 0 and bytes > flow_most or all_most > 0 and bytes > all_most then
    seldom.forget_former(list, key, redis.call('STRLEN', key))
    redis.call('UNLINK', key)
    return
  end
  local list_ms = redis.call('PTTL', list)
  local left = list_ms == -2 and tonumber(redis.call('HGET', CACHED_BYTES, list) or 0) or 0
  -- The list has expired with all that was in it.
  if left ~= 0 then count_bytes(list, -left) end
  local former = redis.call('SET', key, value, 'PX', ms, 'GET')
  if former and #former ~= #value then seldom.forget_former(list, key, #former) end
  local mine, all
  if redis.call('ZADD', list, now, #value .. ' ' .. key) == 1 then mine, all = count_bytes(list, bytes) end
  if list_ms < ms then
    -- A tenth longer, so that not every answer prolongs it.
    local longer = math.floor(ms * 1.1)
    redis.call('PEXPIRE', list, longer)
    if redis.call('PTTL', CACHED_BYTES) < longer then redis.call('PEXPIRE', CACHED_BYTES, longer) end
  end
  for _ = 1, MADE_ROOM do
    if not mine then mine, all = unpack(redis.call('HMGET', CACHED_BYTES, list, '')) end
    local from = nil
    if flow_most > 0 and tonumber(mine) > flow_most then
      from = list
    elseif all_most > 0 and tonumber(all) > all_most then
      from = seldom.oldest_list()
    else
      local first_bytes, first_key = bytes_of(redis.call('ZRANGE', list, 0, 0)[1] or '')
      if first_key and redis.call('STRLEN', first_key) ~= first_bytes then from = list end
    end
    if not from or not seldom.make_room(from, now) then break end
    mine = nil
  end
end
