-- Frees a job from its parent; the last child frees the parent.
--
-- KEYS[1]  the queue's base key
-- ARGV     1 job id
-- Returns  0 freed, 1 the parent does not wait for it, -1 no such job, -5 no such parent
local key = KEYS[1] .. ':' .. ARGV[1]
local fields = call('HMGET', key, 'name', 'parentKey', 'parent')
if not fields[1] then return -1 end
if not fields[2] then return 1 end
if call('EXISTS', fields[2]) == 0 then return -5 end
if call('SISMEMBER', fields[2] .. ':dependencies', key) == 0 then return 1 end
drop_dependency(key, fields[2], fields[3])
call('HDEL', key, 'parentKey', 'parent')
return 0
