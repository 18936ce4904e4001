"""The Lua scripts of the transport: what must happen in Redis at once or not at all.

All of them run when Redis is out of memory (``allow-oom``): a worker that cannot write is a worker that cannot drain.
Leases are stamped with the server's clock, so that a worker whose own clock jumps neither loses nor steals one.

Keys as in kombu: ``unacked`` maps a delivery tag to ``[message, exchange, routing key]``, ``unacked_index`` holds the
tags by the time of their lease.
"""

from __future__ import annotations

_HEAD = "#!lua flags=allow-oom\n"
_NOW = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
"""

#: Take up to ARGV[1] messages and record them as unacknowledged. Queues come in bands (ARGV[3..]: "=" starts a band,
#: else a queue's name), the first band first; in a band each queue gives at most ARGV[2] before the next one's turn.
#: KEYS: unacked, unacked_index. Returns queue, message, queue, message ...
FETCH = (
    _HEAD
    + _NOW
    + """
local left, share = tonumber(ARGV[1]), tonumber(ARGV[2])
local taken, band = {}, {}

-- Found as text where it stands there once; only then is it certain whose it is.
local function tag_of(raw)
  local name = '"delivery_tag"'
  local _, stop = string.find(raw, name, 1, true)
  local tag = stop and string.match(raw, '^: ?"([^"\\\\]+)"', stop + 1)
  if tag and not string.find(raw, name, stop, true) then return tag end
  local readable, message = pcall(cjson.decode, raw)
  tag = readable and type(message) == 'table' and type(message.properties) == 'table'
    and message.properties.delivery_tag
  return type(tag) == 'string' and tag or redis.sha1hex(raw)
end

local function take(queue)
  local messages = redis.call('RPOP', queue, math.min(share, left))
  if not messages then return false end
  for _, raw in ipairs(messages) do
    local tag = tag_of(raw)
    redis.call('HSET', KEYS[1], tag, '[' .. raw .. ', "", ' .. cjson.encode(queue) .. ']')
    redis.call('ZADD', KEYS[2], now, tag)
    taken[#taken + 1] = queue
    taken[#taken + 1] = raw
  end
  left = left - #messages
  return #messages == share
end

local function drain()
  while #band > 0 and left > 0 do
    local fuller = {}
    for _, queue in ipairs(band) do
      if left > 0 and take(queue) then fuller[#fuller + 1] = queue end
    end
    band = fuller
  end
  band = {}
end

for i = 3, #ARGV do
  if ARGV[i] == '=' then drain() else band[#band + 1] = ARGV[i] end
end
drain()
return taken
"""
)

#: Carry out what a worker owes, in order: messages and results before the acknowledgement that stands on them.
#: ARGV[1], ARGV[2]: an id for this batch and how long to remember it, so that a batch whose reply was lost can be sent
#: again without being carried out twice. KEYS: unacked, unacked_index, the key of the last batch's id.
SETTLE = (
    _HEAD
    + """
if redis.call('GET', KEYS[3]) == ARGV[1] then return 0 end
local i = 3

local function forget(tag)
  redis.call('ZREM', KEYS[2], tag)
  return redis.call('HDEL', KEYS[1], tag) == 1
end

local function store(key, ttl, value)
  -- A success is final: a late duplicate must not write over it.
  if redis.call('GETRANGE', key, 0, 19) == '{"status": "SUCCESS"' then return end
  if ttl == '0' then redis.call('SET', key, value) else redis.call('SETEX', key, ttl, value) end
  redis.call('PUBLISH', key, value)
end

while i <= #ARGV do
  local what = ARGV[i]
  if what == 'ack' then
    forget(ARGV[i + 1])
    i = i + 2
  elseif what == 'result' then
    store(ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
    i = i + 4
  elseif what == 'message' then
    redis.call('LPUSH', ARGV[i + 1], ARGV[i + 2])
    i = i + 3
  elseif what == 'return' then
    -- Back to its queue, unless somebody else did so, or its owner renewed the lease, since we looked.
    local tag, seen, queue, raw = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
    if (seen == '' or redis.call('ZSCORE', KEYS[2], tag) == seen) and forget(tag) then
      redis.call('RPUSH', queue, raw)
    end
    i = i + 5
  else
    return redis.error_reply('unknown entry: ' .. tostring(what))
  end
end
redis.call('SETEX', KEYS[3], ARGV[2], ARGV[1])
return 1
"""
)

#: Stamp the leases of ARGV anew; those that are gone stay gone. KEYS: unacked_index.
RENEW = (
    _HEAD
    + _NOW
    + """
for _, tag in ipairs(ARGV) do redis.call('ZADD', KEYS[1], 'XX', now, tag) end
return #ARGV
"""
)

#: Return up to ARGV[2] leases older than ARGV[1] seconds as tag, stamp, record, tag ... A tag without a record is
#: removed: it has nothing to give back. KEYS: unacked, unacked_index.
EXPIRED = (
    _HEAD
    + _NOW
    + """
local found = {}
local tags = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[1]), 'LIMIT', 0, ARGV[2])
for _, tag in ipairs(tags) do
  local record = redis.call('HGET', KEYS[1], tag)
  if record then
    found[#found + 1] = tag
    found[#found + 1] = redis.call('ZSCORE', KEYS[2], tag)
    found[#found + 1] = record
  else
    redis.call('ZREM', KEYS[2], tag)
  end
end
return found
"""
)
