-- Store the route and enqueue what answers: one message, or one for each part of a fan-out; none for a clarification.
-- Atomic, so a redelivered classification enqueues nothing twice.
--
-- id: text
-- version: whole         of the messages
-- route: text            the route as JSON
-- flow: text             the first flow of the route
-- domain: text           its domain
-- intent: text           the topic that decided; '' for none
-- event: text            what readers of the stream are told, as JSON
-- synthesis: text        the place of what follows the last part; '' where there are no parts
-- unshared: flag         whether a flow of the route answers each query by itself: nothing is shared
-- parts: texts           the name of each part; '' for the whole query
-- places: texts          the place of each message
--
--> routed(created: whole) when the query was accepted, milliseconds since 1970
--> already                another delivery has stored a route
--> versioned(version: whole) nothing was stored: the record, and so its messages, have this version
--> gone                   the query has ended
--> unknown                there is no record: a plain Celery client sent it
local key = record_key(id)
local state, domain_before, created, its_version, reason, front, stage = unpack(redis.call('HMGET', key, 'state', 'domain',
  'created', 'v', 'reason', 'front', 'stage'))
if not state then return reply.unknown() end
if TERMINAL[state] then seldom.promote(id) return reply.gone() end
local handed_on = (reason == REASON.registry or reason == REASON.version) and not stage
if state ~= STATE.pending and not (state == STATE.waiting and handed_on) then return reply.already() end
if tonumber(its_version) ~= version then return reply.versioned(its_version) end
local now = now_ms()
move_domain(id, domain_before, domain)
local fields = {STEP.routed, 'route', route, 'flow', flow, 'domain', domain, 'routed', now}
local function put(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
if intent ~= '' then put('intent', intent) end
for i, place in ipairs(places) do
  put(mover_field(parts[i]), enqueue(execution(id, parts[i]), place))
end
-- A clarification is answered by the classification itself.
if #places > 0 then put('stage', STAGE.answer) end
if synthesis ~= '' then
  put('parts', #parts)
  put('synthesis', synthesis)
end
redis.call('HSET', key, unpack(fields))
emit(id, EVENT.routed, event)
if unshared then seldom.disband(id, front) end
drained(CLASSIFY_QUEUE, now)
return reply.routed(created)
