-- Files that go with queries. Each is kept as long as an open query needs it; its TTL is for what nobody takes up. The
-- first piece of a file is the number of bytes that it takes up here; behind a 0, the name that it has in the folder.

-- The names of the files that a query needs. `query` is JSON; `whose` the name of its asker.
local function blobs_in(query, whose)
  local names = {}
  if not string.find(query, '"uploads":[', 1, true) then return names end
  for _, upload in ipairs(cjson.decode(query).uploads or {}) do
    if upload.digest then names[#names + 1] = whose .. ' ' .. upload.digest end
  end
  return names
end

-- Those of these files that are not kept.
local function blobs_missing(names)
  local missing = {}
  for _, name in ipairs(names) do
    if redis.call('EXISTS', blob_key(name)) == 0 then missing[#missing + 1] = name end
  end
  return missing
end

-- Bytes that all files take up.
local function bytes_kept()
  local taken = 0
  for _, entry in ipairs(redis.call('ZRANGE', BLOBS, 0, -1)) do taken = taken + tonumber(string.match(entry, '^%d+')) end
  return taken
end

local function blob_entry(name) return redis.call('LINDEX', blob_key(name), 0) .. ' ' .. name end

local function keep_blob_for(name, ttl_ms, now)
  redis.call('PEXPIRE', blob_key(name), ttl_ms)
  redis.call('PEXPIRE', blob_users_key(name), ttl_ms)
  redis.call('ZADD', BLOBS, now + ttl_ms, blob_entry(name))
end

-- Delete the pieces of a file. One in the folder is left to the workers.
local function drop_pieces(name)
  if redis.call('LINDEX', blob_key(name), 0) == '0' then
    redis.call('SADD', DOOMED_FILES, redis.call('LINDEX', blob_key(name), 1))
  end
  redis.call('UNLINK', blob_key(name))
end

-- Delete a file, unless an open query needs it.
local function spare_blob(name)
  if redis.call('EXISTS', blob_users_key(name)) == 1 or redis.call('EXISTS', blob_key(name)) == 0 then return end
  redis.call('ZREM', BLOBS, blob_entry(name))
  drop_pieces(name)
end

-- Have some files be needed no more by queries whose records were removed before they had ended; delete those that none
-- needs then.
local function spare_removed()
  for _, entry in ipairs(redis.call('ZRANDMEMBER', BLOBS, LOOKED_AT)) do
    local name = string.match(entry, '^%d+ (.*)$')
    local gone = removed_among(redis.call('SRANDMEMBER', blob_users_key(name), LOOKED_AT))
    if #gone > 0 then
      redis.call('SREM', blob_users_key(name), unpack(gone))
      spare_blob(name)
    end
  end
end

-- Have a query need these files until it ends.
local function need_blobs(id, names, ttl_ms, now)
  for _, name in ipairs(names) do
    redis.call('SADD', blob_users_key(name), id)
    keep_blob_for(name, ttl_ms, now)
  end
end

-- A query has ended and needs its files no more. `names`: a line each.
local function leave_blobs(id, names)
  for name in string.gmatch(names, '[^\n]+') do
    redis.call('SREM', blob_users_key(name), id)
    spare_blob(name)
  end
end
