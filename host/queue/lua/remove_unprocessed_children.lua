-- Removes the children of a job that are neither active nor finished.
--
-- KEYS[1]  the queue's base key
-- ARGV     1 job id
-- Returns  how many children were removed
local key = KEYS[1] .. ':' .. ARGV[1]
local removed = 0
for _, child in ipairs(call('SMEMBERS', key .. ':dependencies')) do
  local base, id = split_job_key(child)
  remove_tree(base, id, true, true)
  if call('EXISTS', child) == 0 then removed = removed + 1 end
end
return removed
