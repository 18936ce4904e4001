#!lua flags=allow-oom
-- Write a batch of a ledger's entries, in their order. A batch whose reply was lost is sent again: it is recognised by its
-- id and not carried out twice. A message that cannot be sent to its queue is set aside: an error would have the whole
-- batch repeated for ever.
--
-- run: whole             the number of the server's run: the worker counts each start that it meets
-- ledger: text           the worker's name for its ledger
-- batch_id: text
-- remembered: whole      seconds for which the id is remembered
-- kept: whole            number of unreadable messages that are kept, the newest ones
-- entries: entries
--
--+ ack(tag: text)                              acknowledge a message
--+ moved(tag: text, taken_in: whole, execution_name: text, recorded: whole)  acknowledge the message of an execution
--+ result(key: text, ttl: whole, value: text)  store a result for so many seconds (0: for ever) and publish it
--+ message(queue: text, message: text)         put a message into a queue
--+ put_back(tag: text, seen: text, queue: text, message: text)  put a message back; not if its lease was renewed since `seen`
--+ set_aside(tag: text, acknowledged: text)    keep a message as unreadable; `acknowledged` where it has no record any more
--
--> settled(not_sent: whole)                    the number of messages that could not be sent to their queue
--> known                                       this batch was carried out before
if redis.call('GET', settled_key(ledger)) == batch_id then return reply.known() end
local not_sent = 0

local function forget(tag)
  redis.call('ZREM', UNACKED_INDEX, tag)
  return redis.call('HDEL', UNACKED, tag) == 1
end

local function keep(raw)
  redis.pcall('LPUSH', UNREADABLE, raw)
  redis.pcall('LTRIM', UNREADABLE, 0, kept - 1)
  redis.pcall('INCR', UNREADABLE_COUNT)
end

local function send(command, queue, raw)
  local sent = redis.pcall(command, queue, raw)
  if type(sent) == 'table' and sent.err then
    not_sent = not_sent + 1
    keep(raw)
  end
end

function entry.ack(tag) forget(tag) end

-- Whether an execution waits for the message that was delivered under this tag. `recorded`: 1 where its record was there
-- before the message, 0 where a plain client's message may be all that is known of it.
local function waits(execution_name, tag, recorded)
  local id, part = split(execution_name)
  local state, at = unpack(redis.call('HMGET', record_key(id), 'state', mover_field(part)))
  if not state then return recorded == 0 end
  if TERMINAL[state] or part ~= '' and redis.call('HEXISTS', parts_key(id), part) == 1 then return false end
  return not at or string.match(at, '^q\n.*%.([^.]*)$') == string.match(tag, '^[^~]*')
end

-- The worker has done its part, but what it did in an earlier run may have been lost with the end of the server's file.
-- A message that is kept here goes back to its queue when its lease expires: nobody renews it.
function entry.moved(tag, taken_in, execution_name, recorded)
  if taken_in == run or not waits(execution_name, tag, recorded) then forget(tag) end
end

function entry.result(key, ttl, value)
  -- A success is final: a late duplicate must not overwrite it.
  if redis.pcall('GETRANGE', key, 0, 19) == '{"status": "SUCCESS"' then return end
  if ttl == 0 then redis.call('SET', key, value) else redis.call('SETEX', key, ttl, value) end
  publish(key, value)
end

function entry.message(queue, message) send('LPUSH', queue, message) end

-- `seen` is the time stamp of a lease that has expired, or '' for a worker's own message.
function entry.put_back(tag, seen, queue, message)
  if (seen == '' or redis.call('ZSCORE', UNACKED_INDEX, tag) == seen) and forget(tag) then
    send('RPUSH', queue, message)
  end
end

function entry.set_aside(tag, acknowledged)
  local record = redis.call('HGET', UNACKED, tag)
  if record and forget(tag) then
    -- The message exactly as it was sent: `fetch` has put it between these texts.
    keep(string.match(record, '^%[(.*), "", ".-"%]$') or record)
  elseif acknowledged ~= '' then
    keep(acknowledged)
  end
end

carry_out(entries)
redis.call('SETEX', settled_key(ledger), remembered, batch_id)
return reply.settled(not_sent)
