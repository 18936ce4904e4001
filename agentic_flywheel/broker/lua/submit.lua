-- Accept a query: answer it from the cache front, attach it to an identical one under way, or record and enqueue it.
--
-- id: text
-- owner: text
-- asker: text            owner and user; '' where no user is named
-- query: text            the query as JSON
-- front: text            what recognises the same question before its flow is known; '' for none
-- queue: text
-- message: text
-- tag: text              the message's delivery tag
-- limit: whole           most open queries: of the domain that it names, else of all together
-- minute_most: whole     queries of the owner within a minute; 0 for no limit, as for the next three
-- open_most: whole       queries of the owner under way
-- bytes_most: whole      bytes of them
-- day_most: whole        calls of flows for the owner in a day
-- weight: whole          turns of the owner for each of another one's
-- span: text             milliseconds until its deadline, '' for none
-- ttl: whole             seconds that record, events and result are kept after the end
-- policy: text           use, refresh or bypass the cache
-- priority: text
-- session: text          its name; '' for none
-- life: text             random, for a session that begins
-- session_ttl: whole     seconds
-- turns: whole           most turns that a session keeps
-- domain: text           the domain that the query names; '' for none
-- profile: text          the profile that the query names; '' for none
-- blob_ms: whole         for how long a file of it is kept at most
-- content: text          digest of the query, where its id is made from the caller's key; '' where the id is a new one
--
--> hit(cache_key: text, answer: text)   answered from the cache: JSON, or what was put there by hand
--> attached(leader: text)               waits for the answer of this execution
--> accepted
--> exists                               this id was accepted before, with this content
--> conflict                             nothing was accepted: this id was accepted before with other content
--> late                                 nothing was accepted: its deadline has passed
--> lacking(names: texts)                nothing was accepted: files of it are not kept here, give them first
--> full(length: whole, drained: whole)  nothing was accepted; open queries, and completions within the last minute
--> limited(name: text, most: whole, value: whole, wait_ms: whole)  nothing was accepted: a limit of the owner
--> asks(query_id: text)                 nothing was accepted: the turn before, this query, waits for a person
--> profiled(profile: text)              nothing was accepted: the session carries this profile, submit the query with it
local now = now_ms()
local key = record_key(id)
local whose = asker == '' and owner or asker
if redis.call('EXISTS', key) == 1 then
  if content ~= '' and redis.call('HGET', key, 'content') ~= content then return reply.conflict() end
  return reply.exists()
end
if span ~= '' and tonumber(span) <= 0 then return reply.late() end
local deadline = span ~= '' and now + tonumber(span)

local behind_turn = false
if session ~= '' then
  local carried = redis.call('HGET', session_key(session), 'profile')
  if carried and profile == '' then return reply.profiled(carried) end
  local head = redis.call('LINDEX', line_key(session), 0)
  if head and redis.call('ZSCORE', ASKED, head) then return reply.asks(head) end
  behind_turn = head and true
  -- Inside a conversation the answer depends on what was said before: no front.
  if behind_turn or redis.call('EXISTS', turns_key(session)) == 1 then front = '' end
end

local name, most, value, wait_ms = over_minute(owner, minute_most, now)
if name then return reply.limited(name, most, value, wait_ms) end

local leader
if front ~= '' and policy == POLICY.use then
  local memo, flight = unpack(redis.call('MGET', front_key(front), flight_key(front)))
  if memo then
    local cache_key, stale, flow = string.match(memo, '^([^\n]+)\n(%d+)\n(.*)$')
    local answer = redis.call('GET', cache_key)
    -- A stale one is served, and renewed, by a worker.
    if answer and fresh(cache_key, tonumber(stale)) then
      count(flow, 'hits')
      use_answer(cache_key, answer, now)
      redis.call('EXPIRE', front_key(front), ttl)
      tally_flow(hour_of(now), flow, nil, HOW.cached, nil, now, nil, now)
      tally_names(hour_of(now), whose)
      redis.call('HSET', key, STEP.answered, 'v', VERSION, 'owner', owner, 'query', query, 'created', now, 'finished', now,
        'ttl', ttl, 'cache_key', cache_key, 'flow', flow)
      if asker ~= '' then redis.call('HSET', key, 'asker', asker) end
      if content ~= '' then redis.call('HSET', key, 'content', content) end
      if session ~= '' then
        join_session(id, whose, session, life, session_ttl, turns, now)
        append_turn(session, id, answer, false, now)
      end
      own_query(id, owner, asker, ttl, now)
      redis.call('EXPIRE', key, math.min(ttl, 3600))
      return reply.hit(cache_key, answer)
    end
  end
  leader = flight
  if leader then
    local state, rank = unpack(redis.call('HMGET', record_key(leader), 'state', 'priority'))
    -- A more urgent query does not wait for one in a slower band, unless that one runs already.
    local slower = rank == PRIORITY.low and priority ~= PRIORITY.low
      or rank == PRIORITY.normal and priority == PRIORITY.high
    if not state or TERMINAL[state] or leader == id or (slower and state ~= STATE.running) then leader = nil end
  end
end

local blobs = blobs_in(query, whose)
local missing = blobs_missing(blobs)
if #missing > 0 then return reply.lacking(missing) end
local waiting = domain == '' and CLASSIFY_QUEUE or domain_queue(domain)
name, most, value, wait_ms = over_under_way(owner, open_most, bytes_most, #query, waiting, now)
if name then return reply.limited(name, most, value, wait_ms) end
local under_way = redis.call('ZCARD', OPEN) - redis.call('ZCARD', ASKED)
local counted = domain ~= '' and redis.call('SCARD', open_in_key(domain)) or under_way
if counted >= limit then counted = counted - drop_removed(domain) end
if counted >= limit then return reply.full(counted, drained_lately(waiting, now)) end

-- A later look for each query under way: a long queue is not looked at all at once.
redis.call('ZADD', OPEN, now + FIRST_LOOK_MS + under_way, id)
if domain ~= '' then move_domain(id, nil, domain) end
local fields = {STEP.accepted, 'v', VERSION, 'owner', owner, 'query', query, 'created', now, 'ttl', ttl,
  'priority', priority}
if front ~= '' then fields[#fields + 1] = 'front'; fields[#fields + 1] = front end
if deadline then fields[#fields + 1] = 'deadline'; fields[#fields + 1] = deadline end
if domain ~= '' then fields[#fields + 1] = 'domain'; fields[#fields + 1] = domain end
if content ~= '' then fields[#fields + 1] = 'content'; fields[#fields + 1] = content end
if asker ~= '' then fields[#fields + 1] = 'asker'; fields[#fields + 1] = asker end
if day_most > 0 then fields[#fields + 1] = 'day_most'; fields[#fields + 1] = day_most end
if weight > 1 then fields[#fields + 1] = 'weight'; fields[#fields + 1] = weight end
local counts = take_up(id, owner, open_most, bytes_most, #query)
if counts then fields[#fields + 1] = 'bytes'; fields[#fields + 1] = counts end
if #blobs > 0 then
  need_blobs(id, blobs, blob_ms, now)
  fields[#fields + 1] = 'blobs'
  fields[#fields + 1] = table.concat(blobs, '\n')
end
local waits, place = leader or behind_turn, tag .. '\n' .. queue .. '\n' .. message
redis.call('HSET', key, unpack(fields))
if not waits then redis.call('HSET', key, 'at', enqueue(id, place)) end
own_query(id, owner, asker, ttl, now)
if deadline then redis.call('ZADD', DEADLINES, deadline, id) end
if session ~= '' then
  join_session(id, whose, session, life, session_ttl, turns, now)
  stand_in_line(id, session)
end

if leader then
  count(redis.call('HGET', record_key(leader), 'flow') or '(unrouted)', 'attached')
  attach(id, leader, place)
  return reply.attached(leader)
end
if front ~= '' and policy ~= POLICY.bypass then redis.call('SET', flight_key(front), id) end
if behind_turn then line_up(id, session, place) end
return reply.accepted()
