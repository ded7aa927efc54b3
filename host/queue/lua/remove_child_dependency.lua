-- Frees a job from its parent; the last child frees the parent.
--
-- KEYS[1]  the queue's base key
-- ARGV     1 job id
-- Returns  0 freed, 1 the parent does not wait for it, -1 no such job, or the key of a parent that does not
--          exist; a job without a parent has the one that JavaScript calls undefined
local key = KEYS[1] .. ':' .. ARGV[1]
local fields = call('HMGET', key, 'name', 'parentKey', 'parent')
if not fields[1] then return -1 end
if not fields[2] then return 'undefined' end
if call('EXISTS', fields[2]) == 0 then return fields[2] end
if call('SISMEMBER', fields[2] .. ':dependencies', key) == 0 then return 1 end
drop_dependency(key, fields[2], fields[3])
call('HDEL', key, 'parentKey', 'parent')
return 0
