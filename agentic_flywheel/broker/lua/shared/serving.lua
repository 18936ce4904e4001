-- Which workers live, what each of them can serve, and how long nobody could serve an execution.

-- How long the clock of an execution stands still unseen, in milliseconds, before it begins anew: meanwhile no worker
-- looked, so nobody knows whether one could have served it.
local UNSEEN_MS = 30000
-- Shortest pause, in milliseconds, before an execution is offered to the workers again; and the longest one while a worker
-- lives that could serve it (any of them may be the next to take it), and while there is none.
local OFFERED_AFTER_MS = 200
local SERVED_WITHIN_MS = 1000
local OFFERED_LATEST_MS = 5000

-- A worker's version and the queues that it reads; nothing where it does not live.
local function sign_of(worker)
  local sign = redis.pcall('HMGET', alive_key(worker), 'version', 'reads')
  return sign[1] and tonumber(sign[1]), sign[2]
end

-- Whether a worker knows what one of these texts names: names in one text, a line each, are needed together.
local function knows_one(worker, names)
  for _, needed in ipairs(names) do
    local all = true
    for name in string.gmatch(needed, '[^\n]+') do all = all and redis.pcall('SISMEMBER', knows_key(worker), name) == 1 end
    if all then return true end
  end
  return #names == 0
end

-- Whether a living worker has this version or a later one, knows one of these names, and reads a queue; without names, and
-- with '' for the queue, any will do.
local function is_served(version, names, queue)
  for _, worker in ipairs(redis.call('SMEMBERS', WORKERS)) do
    local its_version, reads = sign_of(worker)
    if its_version and its_version >= version
      and knows_one(worker, names)
      and (queue == '' or string.find('\n' .. reads .. '\n', '\n' .. queue .. '\n', 1, true)) then
      return true
    end
  end
  return false
end

-- Whether workers live, all of them have said what they know, and none knows one of these names.
local function is_known_by_none(names)
  local lives = false
  for _, worker in ipairs(redis.call('SMEMBERS', WORKERS)) do
    if sign_of(worker) then
      if redis.call('EXISTS', knows_key(worker)) == 0 or knows_one(worker, names) then return false end
      lives = true
    end
  end
  return lives
end

-- Whether a queue is one of the product's, or one that a living worker reads: no other list is written to.
local function is_ours(queue)
  local base = base_of(queue)
  return base == CLASSIFY_QUEUE or base == SYNTHESIS_QUEUE or string.find(queue, domain_queue(''), 1, true) == 1
    or is_served(0, {}, queue)
end

-- Bring back what waited outside its queue: name of the execution, and its place. Returns the name; nil for what is no such
-- thing, which is set aside.
local function bring_back(waiting)
  local name, place, queue = string.match(waiting, '^([^\n]*)\n([^\n]*\n([^\n]+)\n.*)$')
  if not name or not is_ours(queue) then
    set_aside(waiting)
    return nil
  end
  local at = alone(name, function() return enqueue_next(name, place) end)
  if not at then
    set_aside(waiting)
    return nil
  end
  local id, part = split(name)
  -- An earlier copy of a message, whose giver lost the reply, moves nothing that a person moves by now.
  if redis.call('EXISTS', record_key(id)) == 1 and not asks(id, part) then
    redis.pcall('HSET', record_key(id), mover_field(part), at)
  end
  return name
end

-- Where a message waits so that a living worker takes it that can serve it: in its own queue, or in `classify` if those who
-- can serve it do not read that one. Returns the place, and whether there is such a worker.
local function served_place(place, version, names)
  local tag, queue, message = read_place(place)
  if is_served(version, names, queue) then return place, true end
  if is_served(version, names, CLASSIFY_QUEUE) then return tag .. '\n' .. CLASSIFY_QUEUE .. '\n' .. message, true end
  return place, false
end

-- Note whether an execution is served now, and return for how many milliseconds it was not, and since when it is offered.
-- Its record has three times in the field `offered|part`: the first look, the last one, and since when nobody serves it.
local function unserved(id, part, served, now)
  local field = 'offered|' .. part
  local first, last, since = string.match(redis.call('HGET', record_key(id), field) or '', '^(%d+) (%d+) (%d+)$')
  if not first or now - last > UNSEEN_MS then first, since = now, now end
  if served then since = now end
  redis.call('HSET', record_key(id), field, string.format('%.0f %.0f %.0f', first, now, since))
  return now - since, tonumber(first)
end

-- Offer a message to the workers again after a pause that grows with the time for which it was offered.
local function offer_later(id, part, base, place, first, unserved_ms, patience, now)
  local longest = unserved_ms == 0 and SERVED_WITHIN_MS or math.min(OFFERED_LATEST_MS, patience / 4)
  delay(id, part, base, place, now + math.max(math.min((now - first) / 4, longest), OFFERED_AFTER_MS))
end

-- Have a query wait for a worker that can serve it. A part's waiting is not told.
local function wait_for_worker(id, part, reason)
  if part ~= '' then return end
  local before = redis.call('HGET', record_key(id), 'reason')
  redis.call('HSET', record_key(id), STEP.handed_on(reason))
  if before ~= reason then emit(id, EVENT.waiting, cjson.encode({reason = reason})) end
end
