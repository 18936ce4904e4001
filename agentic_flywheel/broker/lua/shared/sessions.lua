-- Conversations: their turns, and the line in which turns wait for each other.

-- Begin a session where there is none. Returns its life, by which it is told from earlier ones of the same name.
local function begin_session(asker, session, life, session_ttl, now)
  local about = session_key(session)
  if redis.call('HSETNX', about, 'life', life) == 0 then return redis.call('HGET', about, 'life') end
  redis.call('HSET', about, 'created', now)
  redis.call('EXPIRE', about, session_ttl)
  redis.call('DEL', turns_key(session))
  own(sessions_key(asker), session, session_ttl, now)
  return life
end

-- Note a query's session in its record, and begin the session where there is none.
local function join_session(id, asker, session, life, session_ttl, turns, now)
  redis.call('HSET', record_key(id), 'session', session, 'session_ttl', session_ttl, 'turns', turns,
    'life', begin_session(asker, session, life, session_ttl, now))
  redis.call('EXPIRE', session_key(session), session_ttl)
end

-- Put a query at the end of its session's line. Returns whether an earlier turn is open.
local function stand_in_line(id, session) return redis.call('RPUSH', line_key(session), id) > 1 end

-- Keep a turn's message until the turn before it has ended.
local function line_up(id, session, place)
  redis.call('HSET', waiting_turns_key(session), id, place)
  redis.call('HSET', record_key(id), STEP.lined_up, 'at', 'h\n' .. session .. '\n')
end

-- The turn `id` has ended: the next open turn enters its queue. So turns of a session never overlap and keep their order.
local function next_turn(session, id)
  local line = line_key(session)
  if redis.call('LINDEX', line, 0) ~= id then
    redis.call('LREM', line, 0, id)
    redis.call('HDEL', waiting_turns_key(session), id)
    return
  end
  redis.call('LPOP', line)
  while true do
    local follower = redis.call('LINDEX', line, 0)
    if not follower then return end
    local place = redis.call('HGET', waiting_turns_key(session), follower)
    redis.call('HDEL', waiting_turns_key(session), follower)
    local state = redis.call('HGET', record_key(follower), 'state')
    if state and not TERMINAL[state] then
      -- Without its place it stays the head of the line; `examine` finds that nothing moves it.
      if place then
        redis.call('HSET', record_key(follower), STEP.called_up, 'at', enqueue(follower, place))
      end
      return
    end
    redis.call('LPOP', line)
  end
end

-- Longest text of a turn, in bytes: so a session of fifty turns is bounded.
local TURN_BYTES = 32768

local function bounded(text)
  if #text <= TURN_BYTES then return text end
  local cut = TURN_BYTES
  -- Not within a character: bytes 128 to 191 continue one.
  while cut > 0 and string.byte(text, cut + 1) >= 128 and string.byte(text, cut + 1) < 192 do cut = cut - 1 end
  return string.sub(text, 1, cut) .. ' […]'
end

-- Append a question and its answer to the session. `remembered`: Flowise itself may remember this exchange.
local function append_turn(session, id, stored, remembered, now)
  local ok, answer = pcall(cjson.decode, stored)
  if not ok or type(answer) ~= 'table' or not answer.text then answer = {text = stored, flow = '', domain = ''} end
  if answer.kind == 'clarify' then return end
  local about, turns = session_key(session), turns_key(session)
  local query, owner, asker, ttl, keep, life = unpack(redis.call('HMGET', record_key(id), 'query', 'owner', 'asker',
    'session_ttl', 'turns', 'life'))
  -- The session has ended meanwhile: what was said in it is no part of another one with its name.
  if not life or (redis.call('HGET', about, 'life') or life) ~= life then return end
  redis.call('RPUSH', turns, cjson.encode({query_id = id, question = bounded(cjson.decode(query).question),
    answer = bounded(answer.text), flow = answer.flow, domain = answer.domain,
    remembered = remembered and answer.remembered == true, at = now,
    private_to = answer.private == true and answer.profile or nil}))
  redis.call('LTRIM', turns, -tonumber(keep), -1)
  redis.call('HSET', about, 'life', life, 'updated', now)
  redis.call('EXPIRE', turns, ttl)
  redis.call('EXPIRE', about, ttl)
  local whose = asker or owner
  own(sessions_key(whose), session, ttl, now)
end
