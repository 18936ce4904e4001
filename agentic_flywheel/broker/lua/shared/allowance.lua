-- How much an owner may ask. Every limit of 0 is none, and costs nothing. What is under way is a set, so it cannot drift;
-- the minute is read from the times of the owner's queries. A query is refused by the first limit that it would pass: its
-- name, how much is allowed, how much there is, and in how many milliseconds there is room again.

local MINUTE_MS = 60000
local DAY_MS = 86400000
-- Longest time that an owner at a limit is told to wait for queries to end.
local PATIENCE_MS = 30000

local function over_minute(owner, most, now)
  if most == 0 then return nil end
  local lately = redis.call('ZCOUNT', owned_key(owner), '(' .. (now - MINUTE_MS), '+inf')
  if lately < most then return nil end
  -- There is room when this one is a minute old.
  local first = redis.call('ZRANGEBYSCORE', owned_key(owner), '(' .. (now - MINUTE_MS), '+inf', 'WITHSCORES', 'LIMIT',
    lately - most, 1)
  return 'queries_a_minute', most, lately, first[2] + MINUTE_MS - now
end

local function lay_down(id, owner, bytes)
  local there = redis.call('HDEL', underway_key(owner), id) == 1
  if there and bytes ~= '0' and redis.call('DECRBY', underway_bytes_key(owner), bytes) <= 0 then
    redis.call('DEL', underway_bytes_key(owner))
  end
end

-- Drop some of what an owner has under way whose records were removed. Return whether there were any.
local function lay_down_removed(owner)
  local gone = removed_among(redis.call('HRANDFIELD', underway_key(owner), LOOKED_AT))
  for _, id in ipairs(gone) do lay_down(id, owner, redis.call('HGET', underway_key(owner), id)) end
  return #gone > 0
end

-- `queue`: where the query would wait; its pace says when a twentieth of what the owner has under way has ended, one at
-- least.
local function over_under_way(owner, most, bytes_most, bytes, queue, now)
  local open = (most > 0 or bytes_most > 0) and redis.call('HLEN', underway_key(owner)) or 0
  local limit, allowed, value
  if most > 0 and open >= most then
    limit, allowed, value = 'under_way', most, open
  elseif bytes_most > 0 then
    local sum = tonumber(redis.call('GET', underway_bytes_key(owner)) or 0)
    if sum + bytes > bytes_most then limit, allowed, value = 'bytes_under_way', bytes_most, sum end
  end
  if not limit then return nil end
  if seldom.lay_down_removed(owner) then return over_under_way(owner, most, bytes_most, bytes, queue, now) end
  local ended, wait_ms = seldom.drained_lately(queue, now), PATIENCE_MS
  if ended > 0 then
    wait_ms = math.max(1, 0.05 * open) * MINUTE_MS / ended
  elseif open > 0 then
    -- Nothing tells the pace: any one of them is taken to last about as long again as it has.
    local created = redis.call('HGET', record_key(redis.call('HRANDFIELD', underway_key(owner))), 'created')
    if created then wait_ms = now - created end
  end
  return limit, allowed, value, math.ceil(math.min(math.max(wait_ms, 1000), PATIENCE_MS))
end

-- Count a query as under way, from its acceptance to its end. Returns the bytes that it counts, which its record keeps;
-- nil where nothing is limited: then it is not counted.
local function take_up(id, owner, most, bytes_most, bytes)
  if most == 0 and bytes_most == 0 then return nil end
  if bytes_most == 0 then bytes = 0 end
  redis.call('HSET', underway_key(owner), id, bytes)
  if bytes > 0 then redis.call('INCRBY', underway_bytes_key(owner), bytes) end
  return bytes
end

local function calls_today(owner, now) return calls_key(owner .. ':' .. math.floor(now / DAY_MS)) end

local function over_day(owner, most, now)
  if most == 0 then return nil end
  local calls = tonumber(redis.call('GET', calls_today(owner, now)) or 0)
  if calls < most then return nil end
  return calls, DAY_MS - now % DAY_MS
end

local function count_call(owner, now)
  local key = calls_today(owner, now)
  if redis.call('INCR', key) == 1 then redis.call('PEXPIRE', key, 2 * DAY_MS) end
end
