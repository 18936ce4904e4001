-- What moves an execution. Its record says where it waits, in the field `at` (of a part: `at|part`), as three lines:
--   q  queue  number.tag   in a queue, its backlog, or a worker's hands       d  base queue  due   in the delayed set
--   p  flow  score         parked beside the queue of its flow                h  session           lined up behind a turn
--   f  leader              attached to another execution
-- Each of these places is taken from its small end, so an execution can be in it only while no smaller number, or its
-- own, is the first there. `examine` finds by that, in constant time, who has lost what moved it.

-- Milliseconds after which an open query is looked at for the first time; most have ended by then.
local FIRST_LOOK_MS = 15000

local function mover_field(part)
  if part == '' then return 'at' end
  return 'at|' .. part
end

-- A waiting place: delivery tag, queue, message.
local function read_place(place) return string.match(place, '^([^\n]*)\n([^\n]+)\n(.*)$') end

-- By how much an owner's messages stand apart; an owner with more weight divides it by that.
local TURN = 120

-- Where a query's message stands in a sorted set that is taken from its small end, among the scores from `least` to `most`,
-- so that owners take turns: at the first place, or a turn behind the owner's own last message. `beginning`: the first
-- place where nobody waits. `owner`, `weight`: where the record is not written yet. Source: start-time fair queueing (Goyal,
-- Vin and Cheng, SIGCOMM 1996).
local function its_turn(name, set, least, most, beginning, owner, weight)
  if not owner then owner, weight = unpack(redis.call('HMGET', record_key((split(name))), 'owner', 'weight')) end
  local rotation, its_line = rotation_key(set), least .. ' ' .. (owner or '')
  local first = tonumber(redis.call('ZRANGEBYSCORE', set, least, most, 'WITHSCORES', 'LIMIT', 0, 1)[2] or beginning)
  -- Who has nothing behind the first place begins there again.
  redis.call('ZREMRANGEBYSCORE', rotation, least, first)
  local number = math.max(first, tonumber(redis.call('ZSCORE', rotation, its_line) or 0))
  redis.call('ZADD', rotation, number + math.floor(TURN / (weight or 1)), its_line)
  return number
end

-- How long a message waits beside a queue whose key is no list, in milliseconds, before it is put into the queue again.
local UNUSABLE_MS = 5000

-- The queue of the normal band of a queue.
local function base_of(queue) return string.match(queue, '^(.*)%.high$') or string.match(queue, '^(.*)%.low$') or queue end

-- Let an execution come back from the delayed set of a base queue at `due`, milliseconds since 1970. Returns what its record
-- has to say.
local function wait_until(name, base, place, due)
  redis.call('ZADD', delayed_key(base), due, name .. '\n' .. place)
  redis.call('SADD', DELAYED_QUEUES, base)
  return 'd\n' .. base .. '\n' .. string.format('%.0f', due)
end

-- Put an execution's message at one end of a queue. Another program may have written the queue's key: then it waits beside
-- it until it can be put there. Returns what its record has to say.
local function put_into(command, name, place, number)
  local tag, queue, message = read_place(place)
  local pushed = redis.pcall(command, queue, message)
  if type(pushed) == 'number' then return string.format('q\n%s\n%.0f.%s', queue, number, tag) end
  return seldom.wait_until(name, seldom.base_of(queue), place, now_ms() + UNUSABLE_MS)
end

-- Whether messages wait behind a queue's list. Where another program has written the key, none do.
local function has_backlog(queue)
  local behind = redis.pcall('ZCARD', backlog_key(queue))
  return type(behind) == 'number' and behind > 0
end

-- Take at most so many messages out of a queue's backlog, the next ones first.
local function take_backlog(queue, most)
  local backlog, messages = backlog_key(queue), {}
  local popped = redis.call('ZPOPMIN', backlog, most)
  for i = 1, #popped, 2 do messages[#messages + 1] = popped[i] end
  if redis.call('EXISTS', backlog) == 0 then redis.call('DEL', rotation_key(backlog)) end
  return messages
end

-- Workers wait for a queue's list alone: while there is a backlog, the next message of it is there.
local function move_up(queue)
  if redis.call('EXISTS', queue) == 1 or not has_backlog(queue) then return end
  redis.call('LPUSH', queue, unpack(take_backlog(queue, 1)))
end

-- Put a query's message into a queue: into its list where nobody waits, else into the backlog, where owners take turns.
-- Returns what its record has to say. Numbers grow, also from the list to the backlog. `owner`, `weight` as for `its_turn`.
local function enqueue(name, place, owner, weight)
  local tag, queue, message = read_place(place)
  local number = redis.call('HINCRBY', NUMBERS, queue, 1)
  if number == 1 then  -- the first ever, or the counter was lost: above all that were given
    number = now_ms() * 1000
    redis.call('HSET', NUMBERS, queue, string.format('%.0f', number))
  end
  local waiting, behind = redis.pcall('LLEN', queue), has_backlog(queue)
  if waiting == 0 and not behind or type(waiting) ~= 'number' then return put_into('LPUSH', name, place, number) end
  local last, backlog = number, backlog_key(queue)
  number = seldom.alone(name, function()
    local turn = seldom.its_turn(name, backlog, 0, '+inf', last, owner, weight)
    redis.call('ZADD', backlog, turn, message)
    return turn
  end)
  if not number then return put_into('LPUSH', name, place, last) end
  if number > last then redis.call('HSET', NUMBERS, queue, string.format('%.0f', number)) end
  if waiting == 0 then seldom.move_up(queue) end
  return string.format('q\n%s\n%.0f.%s', queue, number, tag)
end

-- Put a message where it is taken next; its number is 0. Returns what its record has to say.
local function enqueue_next(name, place) return put_into('RPUSH', name, place, 0) end

-- Keep what no worker can read.
local function set_aside(raw)
  redis.call('LPUSH', UNREADABLE, raw)
  redis.call('LTRIM', UNREADABLE, 0, UNREADABLE_KEPT - 1)
  redis.call('INCR', UNREADABLE_COUNT)
end

-- Delay an execution, and note it in its record.
local function delay(id, part, base, place, due)
  redis.call('HSET', record_key(id), mover_field(part), wait_until(execution(id, part), base, place, math.floor(due)))
end

-- Take an execution out of where it is parked or delayed, if it is. Returns whether it was.
local function leave_place(id, part)
  local mover = redis.call('HGET', record_key(id), mover_field(part)) or ''
  local kind, where, score = string.match(mover, '^([dp])\n([^\n]*)\n(%d+)$')
  if not kind then return false end
  local key, start, left = kind == 'd' and delayed_key(where) or parked_key(where), execution(id, part) .. '\n', 0
  for _, waiting in ipairs(redis.call('ZRANGEBYSCORE', key, score, score)) do
    if string.sub(waiting, 1, #start) == start then left = left + redis.call('ZREM', key, waiting) end
  end
  return left > 0
end
