-- Say which of these calls the caller's user may not make. None of them is made.
--
-- calls: texts           each a whole call, with one space between two words; a server may crash over one that is not
--
--> told(refused: texts)
local refused = {}
for _, each in ipairs(calls) do
  local words = {}
  for word in string.gmatch(each, '%S+') do words[#words + 1] = word end
  -- A command that the server does not have, such as one that was renamed, is an error there.
  local known, allowed = true, true
  if redis.acl_check_cmd then known, allowed = pcall(redis.acl_check_cmd, unpack(words)) end
  if not (known and allowed) then refused[#refused + 1] = each end
end
return reply.told(refused)
