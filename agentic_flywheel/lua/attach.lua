-- Wait for an identical call under way instead of making a second one.
-- Returns {'attached'} | {'again'} where the leader has ended meanwhile | {'gone'}.
local id, part, flow, lease, place = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local state = redis.call('HGET', record(id), 'state')
if not state or TERMINAL[state] then promote(execution(id, part)) return {'gone'} end
local held = redis.call('GET', P .. 'lease:' .. lease)
if not held then return {'again'} end
local leader = string.match(held, '^(.-)#')
local me = execution(id, part)
if leader == me then return {'again'} end
count(flow, 'attached')
attach(me, leader, place, now_ms())
copy_tokens(me, leader)
return {'attached'}
