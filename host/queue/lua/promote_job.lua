-- Makes a delayed job wait no longer.
--
-- KEYS[1]  the queue's base key
-- ARGV     1 job id
-- Returns  0, or -3 not delayed
local base, id = KEYS[1], ARGV[1]
if call('ZREM', base .. ':delayed', id) == 0 then return -3 end
local settings = read_settings(base)
trim_events(base, settings)
add_ready(base, id, tonumber(call('HGET', base .. ':' .. id, 'priority')) or 0, 'LPUSH')
signal(base, settings)
emit(base, 'waiting', 'jobId', id, 'prev', 'delayed')
call('HSET', base .. ':' .. id, 'delay', 0)
return 0
