-- Keep a file whose pieces were written under another name, if there is room for it.
--
-- name: text             its asker's name and the digest of what is in it
-- part: text             the name under which its pieces were written
-- size: whole            bytes that it takes up; 0 where it is in the folder
-- most: whole            bytes that all files may take up together
-- ttl_ms: whole
--
--> kept
--> full(taken: whole)     bytes that the files take up without this one
--> lost                   its pieces have expired
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', BLOBS, '-inf', now)
if redis.call('EXISTS', blob_key(name)) == 1 then
  drop_pieces(part)
  keep_blob_for(name, ttl_ms, now)
  return reply.kept()
end
if redis.call('EXISTS', blob_key(part)) == 0 then return reply.lost() end
local taken = bytes_kept()
if taken + size > most then
  spare_removed()
  taken = bytes_kept()
end
if taken + size > most then
  drop_pieces(part)
  return reply.full(taken)
end
redis.call('RENAME', blob_key(part), blob_key(name))
keep_blob_for(name, ttl_ms, now)
return reply.kept()
