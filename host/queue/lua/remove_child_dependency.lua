-- Frees a job from its parent; the last child frees the parent.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 who asks (lib/writer.lua)
--          The last three are of `lib/request.lua`, which takes them off.
-- Returns  0 freed, 1 the parent does not wait for it, -1 no such job, -2 no lock, -6 not our lock, or the key of a
--          parent that does not exist; a job without a parent has the one that JavaScript calls undefined
local refused = check_writer(QUEUE, ARGV[1], ARGV[2])
if refused ~= 0 then return refused end
local key = QUEUE .. ':' .. ARGV[1]
local fields = call('HMGET', key, 'parentKey', 'parent')
if not fields[1] then return 'undefined' end
if not has_job_fields(fields[1]) then return fields[1] end
if call('SISMEMBER', fields[1] .. ':dependencies', key) == 0 then return 1 end
drop_dependency(key, fields[1], fields[2])
call('HDEL', key, 'parentKey', 'parent')
return 0
