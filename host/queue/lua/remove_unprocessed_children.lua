-- Removes the children of a job that are neither active nor finished.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 who asks (lib/writer.lua), 3.. an access or nothing (lib/access.lua)
--          The last three are of `lib/request.lua`, which takes them off.
-- Returns  how many children were removed, or -1 no such job, -2 no lock, -6 not our lock, or the base key of a queue
--          that is beyond the access
local refused = check_writer(QUEUE, ARGV[1], ARGV[2])
if refused ~= 0 then return refused end
local key = QUEUE .. ':' .. ARGV[1]
local access = read_access(3)
if access then
  local seen = {}
  for _, child in ipairs(call('SMEMBERS', key .. ':dependencies')) do
    local base, id = split_job_key(child)
    local beyond = not base and child or base and beyond_access(access, base, id, true, true, seen)
    if beyond then return beyond end
  end
end
local removed = 0
for _, child in ipairs(call('SMEMBERS', key .. ':dependencies')) do
  local base, id = split_job_key(child)
  remove_tree(base, id, true, true, {})
  if call('EXISTS', child) == 0 then removed = removed + 1 end
end
return removed
