#!lua flags=allow-oom
-- Take messages and record them as unacknowledged, in one step. A record is the JSON array of the message, an empty
-- exchange, and the queue.
--
-- limit: whole           most messages
-- share: whole           messages that one queue gives before the next queue of its band has its turn
-- list_first: flag       whether a queue's list gives before its backlog: each gives half of what is taken, while both last
-- bands: wholes          the number of queues in each band; a band is emptied before the next one
-- queues: texts          the queues of all bands, one band behind the other
--
-- What was taken, in lists of one length: the queue, the tag under which the message is recorded, the message.
--> taken(queues: texts, tags: texts, messages: blobs)
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local left = limit
local from, tags, messages = {}, {}, {}

-- A search in the text is much faster than reading it. It is used if it finds exactly one tag.
local function tag_of(raw)
  local name = '"delivery_tag"'
  local _, stop = string.find(raw, name, 1, true)
  local tag = stop and string.match(raw, '^: ?"([^"\\%c\128-\255]+)"', stop + 1)
  if tag and not string.find(raw, name, stop, true) then return tag end
  local readable, message = pcall(cjson.decode, raw)
  tag = readable and type(message) == 'table' and type(message.properties) == 'table'
    and message.properties.delivery_tag
  -- Tags are printable ASCII, so that every worker can read them.
  return type(tag) == 'string' and string.match(tag, '^[ -~]+$') or redis.sha1hex(raw)
end

local function note(queue, raw)
  local tag, entry = tag_of(raw), '[' .. raw .. ', "", ' .. cjson.encode(queue) .. ']'
  if redis.call('HSETNX', UNACKED, tag, entry) == 0 then
    -- Another message is recorded under this tag; one of the two would be lost with its worker.
    tag = redis.sha1hex(tag .. clock[1] .. clock[2] .. #tags)
    redis.call('HSET', UNACKED, tag, entry)
  end
  redis.call('ZADD', UNACKED_INDEX, now, tag)
  return tag
end

local function take_list(queue, most)
  local found = redis.pcall('RPOP', queue, most)
  -- A key that is no list answers with an error. The worker that waits for this queue logs it.
  return found and not found.err and found or {}
end

local function receive(queue, found)
  for _, raw in ipairs(found) do
    local at = #tags + 1
    from[at], tags[at], messages[at] = queue, note(queue, raw), raw
  end
  left = left - #found
  return #found
end

-- Whether a queue has given all that was wanted of it, so that it may have more.
local function take(queue)
  local wanted = math.min(share, left)
  if not has_backlog(queue) then return receive(queue, take_list(queue, wanted)) == wanted end
  local one, other = seldom.take_backlog, take_list
  if list_first then one, other = other, one end
  local rest = wanted - receive(queue, one(queue, math.ceil(wanted / 2)))
  if rest > 0 then rest = rest - receive(queue, other(queue, rest)) end
  if rest > 0 then rest = rest - receive(queue, one(queue, rest)) end
  seldom.move_up(queue)
  return rest == 0
end

local function drain(band)
  while #band > 0 and left > 0 do
    local fuller = {}
    for _, queue in ipairs(band) do
      if left > 0 and take(queue) then fuller[#fuller + 1] = queue end
    end
    band = fuller
  end
end

local first = 1
for _, length in ipairs(bands) do
  local band = {}
  for at = first, first + length - 1 do band[#band + 1] = queues[at] end
  drain(band)
  first = first + length
end
return reply.taken(from, tags, messages)
