-- Makes a delayed job wait no longer.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id
--          The last three are of `lib/request.lua`, which takes them off.
-- Returns  0, or -3 not delayed
local base, id = QUEUE, ARGV[1]
if not is_job(base, id) then return -3 end
if not call('ZSCORE', base .. ':delayed', id) then return -3 end
-- What a user of Redis may not do must fail before the job leaves its set.
local settings = read_settings(base)
local priority = tonumber(call('HGET', base .. ':' .. id, 'priority')) or 0
call('HSET', base .. ':' .. id, 'delay', 0)
call('ZREM', base .. ':delayed', id)
add_ready(base, settings, id, priority, 'LPUSH')
signal(base, settings)
emit_trimmed(base, settings, 'waiting', 'jobId', id, 'prev', 'delayed')
return 0
