-- Event streams of queries that have ended: kept for long, read seldom.

-- Longest stream that is kept entry by entry.
local FEW_EVENTS = 8

-- Of an entry, the token's JSON as a table; nil where it is another event, or cannot be read.
local function token_of(entry)
  local fields = entry[2]
  if fields[1] ~= 'kind' or fields[2] ~= EVENT.token then return end
  local ok, told = pcall(cjson.decode, fields[4])
  if ok and type(told) == 'table' and type(told.text) == 'string' then return told end
end

-- Tokens that follow each other as one entry, under the id of the last one. `cuts` says for each of them: milliseconds since
-- the one before, `-` and its number in that millisecond unless that is 0, `:` and its bytes, `@` and its place in `parts`
-- where it is of a part. The text is left out where it is the answer's. `events.read_events` takes it apart.
local function joined(tokens, answer)
  local texts, cuts, parts, places, before = {}, {}, {}, {}, 0
  for i, token in ipairs(tokens) do
    local ms, number = string.match(token.id, '^(%d+)-(%d+)$')
    local part = type(token.part) == 'string' and token.part
    if part and not places[part] then
      parts[#parts + 1] = part
      places[part] = #parts
    end
    texts[i] = token.text
    cuts[i] = string.format('%.0f', ms - before) .. (number == '0' and '' or '-' .. number) .. ':' .. #token.text ..
      (part and '@' .. places[part] or '')
    before = ms
  end
  local whole = {cuts = table.concat(cuts, ' '), text = table.concat(texts)}
  if #parts > 0 then whole.parts = parts elseif whole.text == answer then whole.text = nil end
  return cjson.encode(whole)
end

-- Write a stream anew, with its tokens joined. A 4 KB answer of 400 tokens takes 17 KB before.
local function join_tokens(key, answer)
  local packed, tokens = key .. PACKED, {}
  local ok, about = pcall(cjson.decode, answer or '')
  local text = ok and type(about) == 'table' and about.text
  local function write_tokens()
    if #tokens > 0 then
      redis.call('XADD', packed, tokens[#tokens].id, 'kind', TOKENS, 'data', joined(tokens, text))
      tokens = {}
    end
  end
  redis.call('DEL', packed)
  for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do
    local token = token_of(entry)
    if token then
      token.id = entry[1]
      tokens[#tokens + 1] = token
    else
      write_tokens()
      redis.call('XADD', packed, entry[1], unpack(entry[2]))
    end
  end
  write_tokens()
  redis.call('RENAME', packed, key)
end

-- Make the stream of a query that has ended small. `answer`: JSON, where its own result holds it.
local function pack_events(id, answer)
  local key = events_key(id)
  if redis.call('XLEN', key) > FEW_EVENTS then seldom.join_tokens(key, answer) end
  -- The server keeps 4 KB for the next entries of a stream, and none in a copy.
  if redis.call('COPY', key, key .. PACKED, 'REPLACE') == 1 then redis.call('RENAME', key .. PACKED, key) end
end
