-- Changes when a delayed job is due.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 delay from now (ms), 3 now (ms)
--          The last three are of `lib/request.lua`, which takes them off.
-- Returns  0, or -1 no such job, -3 not delayed
local base, id, delay = QUEUE, ARGV[1], tonumber(ARGV[2])
local key = base .. ':' .. id
if not is_job(base, id) then return -1 end
if not call('ZSCORE', base .. ':delayed', id) then return -3 end
-- Before the job leaves its set: a user of Redis may lack the command.
call('HSET', key, 'delay', ARGV[2])
call('ZREM', base .. ':delayed', id)
add_delayed(base, read_settings(base), id, tonumber(ARGV[3]) + delay)
signal_delayed(base)
return 0
