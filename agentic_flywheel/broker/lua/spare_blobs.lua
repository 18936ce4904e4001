-- Delete those of these files that no open query needs: a submission that they were kept for was refused.
--
-- names: texts
--
--> spared
for _, name in ipairs(names) do spare_blob(name) end
return reply.spared()
