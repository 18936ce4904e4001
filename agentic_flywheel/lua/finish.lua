-- Write the outcome of an execution once: cache, record, session turn, result, events, for it and all attached to it.
-- `fence` 0: nothing was called (a cache hit, a merged answer, a refusal), so there is no lease to hold.
-- Returns {'won' | 'gone', ids of the attached queries that ended by it} ('gone': it had ended itself before)
--         | {'late'}: another execution holds the lease now.
local id, part, fence, lease, flow, domain = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local state, answer, err, failure = ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local cache_key, metadata, cache_ms, stale_ms = ARGV[11], ARGV[12], tonumber(ARGV[13]), ARGV[14]
local failure_ms, transient, hold_ms = tonumber(ARGV[15]), ARGV[16] == '1', tonumber(ARGV[17])
local concurrency, rate, queue, letter, letter_ttl = tonumber(ARGV[18]), tonumber(ARGV[19]), ARGV[20], ARGV[21], ARGV[22]
local worker = ARGV[23]
local now = now_ms()
local me = execution(id, part)

if fence ~= '0' then
  local others = {}
  if state == 'succeeded' then
    -- A call that succeeded closes its flow's circuit, and ends the memory of a failure.
    others[1] = P .. 'circuit:' .. flow
    if cache_key ~= '' then others[2] = P .. 'failure:' .. cache_key end
  end
  if not give_back(lease, flow, me, fence, others) then
    local ended = redis.call('HGET', record(id), 'state')
    return {(not ended or TERMINAL[ended]) and 'gone' or 'late'}
  end
  if state == 'failed' and transient then call_failed(flow, hold_ms, now) end
  pump(flow, domain, concurrency, rate, now)
end
local about = part == '' and look(id)
if cache_key ~= '' then
  local kept_ms
  if state == 'succeeded' and cache_ms > 0 then
    local cached = string.sub(answer, 1, -2) .. ',"_mcp_metadata":' .. metadata .. '}'
    kept_ms = cache_ms + tonumber(stale_ms)
    redis.call('SET', cache_key, cached, 'PX', kept_ms)
  elseif state == 'failed' and failure_ms > 0 and not transient then
    redis.call('SET', P .. 'failure:' .. cache_key, err .. '\n' .. failure, 'PX', failure_ms)
  end
  local front = about and about[3]
  if front and state == 'succeeded' then
    local left = kept_ms or redis.call('PTTL', cache_key)
    if left > 0 then redis.call('SET', P .. 'front:' .. front, cache_key .. '\n' .. stale_ms .. '\n' .. flow, 'PX', left) end
  end
end
if state == 'failed' then count(flow, 'failures') end
drained(queue, now)

local outcome = {failure = failure}
if answer ~= '' then outcome.answer = answer else outcome.error = err end
local won = true
if part == '' then
  won = finalise(id, state, outcome, now, about)
  if won and letter ~= '' then
    redis.call('ZADD', P .. 'dead', now, id)
    redis.call('SET', P .. 'letter:' .. id, letter, 'EX', letter_ttl)
  end
elseif not renewal(part) then
  complete_part(id, part, outcome)
end
local followers = {}
settle(me, state, outcome, now, followers)
if #followers > 0 then count(flow, 'stampedes_avoided', #followers) end
-- The worker owes their traces a root, until it says that they have it; see `sweep`.
if worker ~= '' then
  if won and part == '' then redis.call('SADD', P .. 'roots:' .. worker, id) end
  if #followers > 0 then redis.call('SADD', P .. 'roots:' .. worker, unpack(followers)) end
end
return {won and 'won' or 'gone', unpack(followers)}
