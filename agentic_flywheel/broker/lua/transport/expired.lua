#!lua flags=allow-oom
-- Find leases that were not renewed for a while. A tag without a record is removed: there is no message to return.
--
-- age: number            seconds
-- limit: whole           most leases
--
-- What was found, in lists of one length: the tag, the time stamp of the lease, the record.
--> found(tags: blobs, seen: texts, records: blobs)
local tags, seen, records = {}, {}, {}
for _, tag in ipairs(redis.call('ZRANGEBYSCORE', UNACKED_INDEX, '-inf', now_ms() / 1000 - age, 'LIMIT', 0, limit)) do
  local record = redis.call('HGET', UNACKED, tag)
  if record then
    local at = #tags + 1
    tags[at], seen[at], records[at] = tag, redis.call('ZSCORE', UNACKED_INDEX, tag), record
  else
    redis.call('ZREM', UNACKED_INDEX, tag)
  end
end
return reply.found(tags, seen, records)
