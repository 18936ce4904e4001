-- May this execution call its flow now? Cache, identical calls under way, admission, in that order.
--
-- id: text
-- part: text             '' for the whole query
-- flow: text
-- domain: text
-- cache_key: text        '' where nothing is cached
-- lease: text            what identical executions share
-- lease_ms: whole
-- policy: text           use, refresh or bypass the cache
-- stale_ms: whole        for how long an expired answer may be served while it is renewed
-- concurrency: whole     calls of the flow at once
-- rate: number           calls of the flow a second; 0 for no limit
-- server: text           where the flow is
-- at_once: whole         calls of that server at once, of all its flows
-- attempts_max: whole
-- asked: text            the flow that was asked, where this one is known to be its fallback; else ''
--
-- `about` holds the route (JSON) and when the query was accepted, routed and started: milliseconds since 1970, '' where
-- it was not yet.
-- `previous`: fences of its attempts before. `decided`: what a person has decided, which the call carries out; '' where the
-- flow is asked anew.
--> run(about: texts, fence: text, attempts: whole, previous: texts, lease: text, decided: text)  call the flow
--> hit(about: texts, answer: text)                                   the stored answer
--> stale(about: texts, answer: text, fence: text)                    serve this; fence '0', or that of its renewal
--> failed(about: texts, error: text, failure: text)                  the stored failure: JSON, and Celery's form
--> gave_up(about: texts, error: text, failure: text)                 its call failed for a query that this one had joined
--> fallback(asked: text)                                             this flow is the fallback of that one
--> spent(about: texts, owner: text, most: whole, value: whole, wait_ms: whole)  its owner's calls of today are used up
--> exhausted(about: texts, attempts: whole)                          begun too often: its message ends whoever takes it
--> attach(leader: text)                                              an identical call is under way
--> busy(wait_ms: whole)                                              another delivery of this message has the lease, or
-->                                                                   an execution that has ended does
--> park(reason: text, wait_ms: whole, decided: whole)                the flow may not be called now; 1 after a decision
--> gone                                                              the query, or this part of it, has ended or asks a person
local now = now_ms()
local key = record_key(id)
local me = execution(id, part)
local suffix = part == '' and '' or '|' .. part
local state, route, created, routed, started, attempts, calls, owner, day_most, asked_flow, gave_up, at, asking, decided,
  unshared, deadline = unpack(redis.call('HMGET', key, 'state', 'route', 'created', 'routed', 'started', 'attempts' .. suffix,
    'calls', 'owner', 'day_most', 'asked_flow', gave_up_field(flow), 'at' .. suffix, 'asks' .. suffix,
    'decided' .. suffix, 'unshared', 'deadline'))
-- The place that was kept for it, if it was called up, is its own to take or to leave.
local came_back = string.match(at or '', '^q\n[^\n]*\n0%.')
if came_back then
  redis.call('ZREM', running_key(flow), place_of(me))
  redis.call('ZREM', serving_key(server), place_of(me))
end
if not state or TERMINAL[state] then promote(me) return reply.gone() end
local about = {route, created, routed, started or ''}
-- The server has lost the end of its file, and the route with it. The classification's message is there.
if not routed then return reply.gone() end
if asking or part ~= '' and redis.call('HEXISTS', parts_key(id), part) == 1 then return reply.gone() end
-- The sweep ends what expires, a moment later: no call may begin in that moment.
if deadline and tonumber(deadline) <= now then
  if finalise(id, STATE.expired, {reason = 'its flow was to be called'}, now) then
    redis.call('RPUSH', UNTRACED, id)
    cut_or_promote(id, state)
  end
  return reply.gone()
end
-- What follows a person's decision is an answer to this query alone.
if decided then cache_key, lease = '', me end
if part == '' and asked == '' and asked_flow and asked_flow ~= flow then return reply.fallback(asked_flow) end

local stale
local looked_up = {lease_key(lease)}
-- A key without a name is none that a user of an access list may read.
if cache_key ~= '' then looked_up[2], looked_up[3] = cache_key, failure_key(cache_key) end
local leaseholder, answer, failure = unpack(redis.call('MGET', unpack(looked_up)))
if cache_key ~= '' and policy == POLICY.use then
  if answer then
    if fresh(cache_key, stale_ms) then
      count(flow, 'hits')
      use_answer(cache_key, answer, now)
      return reply.hit(about, answer)
    end
    stale = answer
  end
  if failure and not stale then
    count(flow, 'failure_hits')
    local error, celery_error = string.match(failure, '^([^\n]+)\n(.*)$')
    return reply.failed(about, error, celery_error)
  end
end

if gave_up then
  local error, celery_error = string.match(gave_up, '^([^\n]+)\n(.*)$')
  return reply.gave_up(about, error, celery_error)
end

-- The call that it waited for has asked a person: it makes one of its own.
if unshared and not stale then
  lease = me
  leaseholder = redis.call('GET', lease_key(lease))
end

if leaseholder then
  local leader = string.match(leaseholder, '^(.-)#')
  if stale then
    count(flow, 'stale')
    return reply.stale(about, stale, NO_FENCE)
  end
  -- A worker may have given up a call and left its lease, which then ends by itself.
  if leader == me or has_ended(leader) then return reply.busy(redis.call('PTTL', lease_key(lease))) end
  return reply.attach(leader)
end

day_most = tonumber(day_most or 0)
local spent, until_tomorrow = over_day(owner, day_most, now)
if spent then
  if stale then
    count(flow, 'stale')
    return reply.stale(about, stale, NO_FENCE)
  end
  -- Whoever waits for this call may be another owner.
  promote(me)
  return reply.spent(about, owner, day_most, spent, until_tomorrow)
end

local reason, wait_ms, probes = obstacle(flow, domain, concurrency, rate, server, at_once, now)
-- Who comes first does not pass those that wait.
if not reason and not came_back and redis.call('EXISTS', parked_key(flow)) == 1 then
  reason, wait_ms = rate > 0 and REASON.rate or REASON.concurrency, 0
end
if reason then
  if stale then
    count(flow, 'stale')
    return reply.stale(about, stale, NO_FENCE)
  end
  return reply.park(reason, wait_ms, decided and 1 or 0)
end

attempts = tonumber(attempts or 0) + 1
-- Far more beginnings than attempts: the message kills whoever touches it.
if attempts > attempts_max and not stale then return reply.exhausted(about, attempts - 1) end
-- The renewal of a stale answer runs under a name of its own: its query is answered already.
if stale then me = execution(id, RENEWAL .. flow) end
local fence = next_fence()
redis.call('SET', lease_key(lease), me .. '#' .. fence, 'PX', lease_ms)
take_slot(flow, server, me, rate, lease_ms, probes, now)
if day_most > 0 then count_call(owner, now) end
if stale then
  count(flow, 'stale')
  return reply.stale(about, stale, fence)
end
if policy ~= POLICY.bypass and cache_key ~= '' then count(flow, 'misses') end
local previous = calls_of(calls, flow, part)
show(id, part, STEP.started)
redis.call('HSET', key, 'attempts' .. suffix, attempts, 'fence' .. suffix, fence, 'started', started or now)
-- A decision is told in the chat of the call that asked.
if not decided then redis.call('HSET', key, 'calls', with_call(calls, fence, flow, part)) end
emit(id, EVENT.started, cjson.encode({flow = flow, attempt = attempts}))
return reply.run(about, fence, attempts, previous, lease, decided or '')
