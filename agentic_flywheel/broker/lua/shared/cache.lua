-- Which cached answers are kept: those that were used last, up to a number of bytes of each flow and of all together. A list
-- for each flow has them as `bytes key`, by their last use. One that was deleted or has expired counts until it is met.

-- Bytes of an answer beside its value and its key: its entries in the server's tables and in its list, and the memo of its
-- question. `python -m benchmarks.memory` shows them.
local BESIDE_ANSWER = 600
-- How long a query that was answered at once, by `submit`, has its answer from here alone.
local PROMISED_MS = 3600000
-- Most answers that make room for one; and how many of the least recently used are looked at for one that may.
local MADE_ROOM, LOOKED_AT = 50, 20

local function list_of(key) return cached_key(string.match(key, '^(.*):')) end

local function bytes_of(entry)
  local bytes, key = string.match(entry, '^(%d+) (.+)$')
  return tonumber(bytes), key
end

local function count_bytes(list, bytes)
  redis.call('HINCRBY', CACHED_BYTES, list, bytes)
  redis.call('HINCRBY', CACHED_BYTES, '', bytes)
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

-- Drop the answer of a list that was used least recently, and that no record needs. Returns whether there was one.
local function make_room(list, now)
  local found = redis.call('ZRANGE', list, 0, LOOKED_AT - 1, 'WITHSCORES')
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
  local list, before = list_of(key), redis.call('STRLEN', key)
  local left = tonumber(redis.call('HGET', CACHED_BYTES, list) or 0)
  -- The list has expired with all that was in it.
  if left ~= 0 and redis.call('EXISTS', list) == 0 then count_bytes(list, -left) end
  local former, entry = before .. ' ' .. key, #value .. ' ' .. key
  local bytes = #value + #key + BESIDE_ANSWER
  -- It would drive out all others, and then itself.
  local too_large = flow_most > 0 and bytes > flow_most or all_most > 0 and bytes > all_most
  if (too_large or former ~= entry) and redis.call('ZSCORE', list, former) then drop_answer(list, former) end
  if too_large then
    redis.call('UNLINK', key)
    return
  end
  redis.call('SET', key, value, 'PX', ms)
  if redis.call('ZADD', list, now, entry) == 1 then count_bytes(list, bytes) end
  for _, each in ipairs({list, CACHED_BYTES}) do
    if redis.call('PTTL', each) < ms then redis.call('PEXPIRE', each, ms) end
  end
  for _ = 1, MADE_ROOM do
    local mine, all = unpack(redis.call('HMGET', CACHED_BYTES, list, ''))
    local from = nil
    local first = redis.call('ZRANGE', list, 0, 0)[1]
    local first_bytes, first_key = bytes_of(first or '0 ' .. key)
    if flow_most > 0 and tonumber(mine) > flow_most then
      from = list
    elseif all_most > 0 and tonumber(all) > all_most then
      from = oldest_list()
    elseif first and redis.call('STRLEN', first_key) ~= first_bytes then
      from = list
    end
    if not from or not make_room(from, now) then break end
  end
end
