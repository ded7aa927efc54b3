-- Makes a delayed job wait no longer.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id
--          The last three are of `lib/request.lua`, which takes them off.
-- Returns  0, or -3 not delayed
local base, id = QUEUE, ARGV[1]
if not is_job(base, id) then return -3 end
if call('ZREM', base .. ':delayed', id) == 0 then return -3 end
local settings = read_settings(base)
add_ready(base, settings, id, tonumber(call('HGET', base .. ':' .. id, 'priority')) or 0, 'LPUSH')
signal(base, settings)
emit_trimmed(base, settings, 'waiting', 'jobId', id, 'prev', 'delayed')
call('HSET', base .. ':' .. id, 'delay', 0)
return 0
