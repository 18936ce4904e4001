-- The figures of an hour (see agentic_flywheel/tally.py): how many queries ended, how, after how long, by flow, user and intent.
-- One hash an hour, so that a query costs a handful of increments and reading never scans a query:
--   q|flow|outcome|octave   time from acceptance to answer     w|flow|octave   time until its flow was called
--   e|flow|class            errors                             u|user  i|intent   queries
--   s|flow  n|flow          sum and number of ratings, in tenths, written by `score`
-- Outcomes are cached, attached and the terminal states.

local TALLY = 'flywheel:tally:'
local TALLY_KEPT = 14 * 86400
-- So many names an hour are told apart; whoever comes later is counted with the others.
local TALLY_NAMES = 2000

local function hour_of(now) return TALLY .. math.floor(now / 3600000) end

-- Quarters of a power of two milliseconds: 1 ms is 0, 1 s is 39, 1 h is 87; each 19 % longer than the one before.
local function octave(ms)
  if ms <= 1 then return 0 end
  return math.floor(4 * math.log(ms) / math.log(2))
end

-- A name so long makes Redis keep the hash as a table: packed in a list, each increment would search half of it.
local UNPACKED = string.rep('-', 65)

local function tally_one(key, name)
  if redis.call('HINCRBY', key, name, 1) > 1 then return end
  -- The first of its name: the rare moment to look at the bounds.
  local names = redis.call('HLEN', key)
  if names == 1 then
    redis.call('HSET', key, UNPACKED, 0)
    redis.call('EXPIRE', key, TALLY_KEPT)
  elseif names > TALLY_NAMES and string.sub(name, 1, 2) == 'u|' then
    redis.call('HDEL', key, name)
    redis.call('HINCRBY', key, 'u|(others)', 1)
  end
end

-- `error`: the error's JSON where there is one; `route`: the route's JSON.
local function tally(flow, owner, route, outcome, error, created, started, now)
  local key = hour_of(now)
  flow = flow or '(none)'
  tally_one(key, 'q|' .. flow .. '|' .. outcome .. '|' .. octave(now - created))
  if started then tally_one(key, 'w|' .. flow .. '|' .. octave(started - created)) end
  if error then tally_one(key, 'e|' .. flow .. '|' .. (string.match(error, '"error_type":"([%w_]+)"') or 'unknown')) end
  tally_one(key, 'u|' .. owner)
  local intent = route and string.match(route, '^{"targets":%[{[^}]-"topic":"([^"]*)"')
  if intent then tally_one(key, 'i|' .. intent) end
end
