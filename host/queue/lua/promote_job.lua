-- Makes a delayed job wait no longer.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 caller or '', 3 number of its call, 4 '1' when the call is a repetition (see `lib/request.lua`)
-- Returns  0, or -3 not delayed
local base, id, caller, number = QUEUE, ARGV[1], ARGV[2], ARGV[3]
local reply = earlier_reply(caller, number, ARGV[4] == '1')
if reply then return reply end
if not is_job(base, id) then return -3 end
if call('ZREM', base .. ':delayed', id) == 0 then return -3 end
local settings = read_settings(base)
add_ready(base, settings, id, tonumber(call('HGET', base .. ':' .. id, 'priority')) or 0, 'LPUSH')
signal(base, settings)
emit_trimmed(base, settings, 'waiting', 'jobId', id, 'prev', 'delayed')
call('HSET', base .. ':' .. id, 'delay', 0)
return note_reply(caller, number, 0)
