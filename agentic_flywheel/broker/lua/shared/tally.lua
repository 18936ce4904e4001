-- The figures of an hour (`figures/tally.py` reads them): how many queries ended, how, after how long, by the flow that was
-- asked, asker and intent. A fan-out asks several flows and is counted for each by its part. One hash an hour, so that a
-- query costs a handful of increments and reading never scans queries:
--   q|flow|outcome|octave   time from acceptance to answer     w|flow|octave   time until its flow was called
--   e|flow|class            errors                             u|asker i|intent   queries
--   b|flow                  answers that it gave in place of another flow
--   s|flow  n|flow          sum and number of ratings, in tenths, written by `score`
--   c|currency|f|flow       what calls cost, in billionths of the currency's unit; also u|asker, i|intent
--   x|f|flow                calls whose cost is not known; also u|asker, i|intent
-- Outcomes are cached, attached, fallen_back (its fallback answered), refused (its owner was at a limit) and the terminal
-- states.

-- How long the figures of an hour are kept, in seconds.
local TALLY_KEPT = 14 * 86400
-- Number of names an hour that are told apart; later ones are counted together as `(others)`.
local TALLY_NAMES = 2000

local function hour_of(now) return tally_key(math.floor(now / 3600000)) end

-- Quarters of a power of two milliseconds: 1 ms is 0, 1 s is 39, 1 h is 87; each 19 % longer than the one before.
local function octave(ms)
  if ms <= 1 then return 0 end
  return math.floor(4 * math.log(ms) / math.log(2))
end

-- A field name of this length makes Redis keep the hash as a table; packed in a list, each increment would search half.
local UNPACKED = string.rep('-', 65)

-- `asker`: what of the name stands before an asker's; only their names have no bound of their own.
local function tally_one(key, name, asker, number)
  number = number or 1
  if tonumber(redis.call('HINCRBY', key, name, number)) ~= tonumber(number) then return end
  -- The first of its name: the rare moment to look at the bounds.
  local names = redis.call('HLEN', key)
  if names == 1 then
    redis.call('HSET', key, UNPACKED, 0)
    redis.call('EXPIRE', key, TALLY_KEPT)
  elseif names > TALLY_NAMES and asker then
    redis.call('HDEL', key, name)
    redis.call('HINCRBY', key, asker .. '(others)', number)
  end
end

-- How a flow has answered, or not. `by`: the flow that did, where one did.
local function tally_flow(key, flow, by, outcome, error_type, created, started, now)
  if by and by ~= '' and by ~= flow then
    tally_one(key, 'b|' .. by)
    outcome = HOW.fallen_back
  end
  tally_one(key, 'q|' .. flow .. '|' .. outcome .. '|' .. octave(now - created))
  if started then tally_one(key, 'w|' .. flow .. '|' .. octave(started - created)) end
  if error_type and outcome ~= HOW.refused then tally_one(key, 'e|' .. flow .. '|' .. error_type) end
end

-- Who asked, and for what.
local function tally_names(key, asker, intent)
  tally_one(key, 'u|' .. asker, 'u|')
  if intent and intent ~= '' then tally_one(key, 'i|' .. intent) end
end

-- What a call for this query has cost; `spent` is '' where that is not known.
local function tally_cost(id, flow, spent, currency, now)
  local asker, owner, intent = unpack(redis.call('HMGET', record_key(id), 'asker', 'owner', 'intent'))
  local key, kind, number = hour_of(now), spent == '' and 'x|' or 'c|' .. currency .. '|', spent ~= '' and spent or 1
  tally_one(key, kind .. 'f|' .. flow, nil, number)
  if asker or owner then tally_one(key, kind .. 'u|' .. (asker or owner), kind .. 'u|', number) end
  if intent and intent ~= '' then tally_one(key, kind .. 'i|' .. intent, nil, number) end
end
