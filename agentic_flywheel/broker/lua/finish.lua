-- Write the outcome of an execution once: cache, record, session turn, result, events; for it and all attached to it.
--
-- id: text
-- part: text
-- fence: text            '0' where no flow was called (a cache hit, a merged answer, a refusal): there is no lease
-- lease: text
-- flow: text             '' where no flow was to be asked
-- state: text            succeeded or failed
-- answer: text           JSON; '' where it failed
-- cached: flag           whether the answer came from the cache
-- error: text            JSON; '' where it succeeded
-- error_type: text       class of the error; '' where it succeeded
-- failure: text          Celery's form of the error, JSON
-- cache_key: text        '' where nothing is cached
-- cached_value: text     what is stored under the key; '' where nothing is to be stored
-- cache_ms: whole        for how long
-- stale_ms: whole        the part of it in which the answer is stale
-- flow_most: whole       bytes of cached answers of the flow; 0 for no limit, as for the next
-- all_most: whole        bytes of all cached answers
-- failure_ms: whole      for how long a permanent failure is remembered; 0 for not at all
-- transient: flag        whether the failure says nothing about the question
-- throttled_ms: whole    for how long the flow asks not to be called, with its answer
-- server: text           where the flow is
-- at_once: whole         calls of that server at once, of all its flows
-- heard: text            what the call says of its server: up, down, or '' for nothing
-- queue: text            whose completions are counted
-- letter: text           the dead letter as JSON; '' for none
-- letter_ttl: whole      seconds
-- spent: text            what the call has cost, in billionths of the currency's unit; '' where that is not known
-- currency: text         '' where nothing is said of costs
-- worker: text           who sends the roots of the traces; '' for one that traces nothing
--
--> won(followers: texts)  it was the first outcome; the ids of attached queries that ended by it, the others follow
--> gone(followers: texts) it had ended before
--> late                   another execution has the lease now: nothing was written
local now = now_ms()
local me = execution(id, part)

if fence ~= NO_FENCE then
  local others = {}
  if state == STATE.succeeded then
    -- A call that succeeded closes its flow's circuit, and ends the memory of a failure.
    others[1] = circuit_key(flow)
    if cache_key ~= '' then others[2] = failure_key(cache_key) end
  end
  if not give_back(lease, flow, server, me, fence, heard, now, others) then
    local ended = redis.call('HGET', record_key(id), 'state')
    if not ended or TERMINAL[ended] then return reply.gone({}) end
    return reply.late()
  end
  if state == STATE.failed and transient then seldom.call_failed(flow, 0, now) end
  if throttled_ms > 0 then seldom.call_throttled(flow, throttled_ms, now) end
  pump(server, at_once, now)
end
local about = part == '' and look(id)
-- Whatever becomes of the answer, its call is paid for.
if state == STATE.succeeded and currency ~= '' then seldom.tally_cost(id, flow, spent, currency, now) end
if cache_key ~= '' then
  if cached_value ~= '' then
    keep_answer(cache_key, cached_value, cache_ms, flow_most, all_most, now)
  elseif state == STATE.failed and failure_ms > 0 and not transient then
    redis.call('SET', failure_key(cache_key), error .. '\n' .. failure, 'PX', failure_ms)
  end
  local front = about and about[3]
  -- What a fallback has answered says nothing of the flow that was asked: the next time that is asked again.
  if front and not about[17] and state == STATE.succeeded then
    local left = cached_value ~= '' and cache_ms or redis.call('PTTL', cache_key)
    -- The cache's bound does not count it away: it lives as long as the record, unless its question comes again.
    left = math.min(left, about[2] * 1000)
    if left > 0 then redis.call('SET', front_key(front), cache_key .. '\n' .. stale_ms .. '\n' .. flow, 'PX', left) end
  end
end
if state == STATE.failed and flow ~= '' and error_type ~= OWNERS_REFUSAL then seldom.count(flow, 'failures') end
drained(queue, now)

-- While it was asked elsewhere, its message, or one of its parts, may have been parked or delayed.
local waits = about and (about[13] or string.find(about[22] or '', '^[dp]\n'))
local outcome = {failure = failure, cached = cached, by = flow, in_hand = not waits}
if answer ~= '' then outcome.answer = answer else outcome.error = error outcome.error_type = error_type end
local won = true
if part == '' then
  won = finalise(id, state, outcome, now, about)
  if won and letter ~= '' then
    redis.call('ZADD', DEAD_LETTERS, now, id)
    redis.call('SET', letter_key(id), letter, 'EX', letter_ttl)
  end
elseif not seldom.renewal(part) then
  won = seldom.complete_part(id, part, outcome)
end
local followers = {}
if followed(me) then seldom.settle(me, state, outcome, now, followers, won and part == '') end
if won and waits then
  seldom.leave_places(id)
  redis.call('HDEL', record_key(id), seldom.mover_field(''))
end
if #followers > 0 then seldom.count(flow, 'stampedes_avoided', #followers) end
-- The worker owes the roots of their traces until it says that they were sent; see `sweep`.
if worker ~= '' then
  if won and part == '' then redis.call('SADD', roots_key(worker), id) end
  if #followers > 0 then redis.call('SADD', roots_key(worker), unpack(followers)) end
end
if won then return reply.won(followers) end
return reply.gone(followers)
