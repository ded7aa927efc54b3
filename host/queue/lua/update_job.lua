-- Changes one field of a job that its worker is running.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 who writes (lib/writer.lua), 3 field, 4 value
-- Returns  0, or -1 no such job, -2 no lock, -6 not our lock
local base, id, field, value = QUEUE, ARGV[1], ARGV[3], ARGV[4]
local refused = check_writer(base, id, ARGV[2])
if refused ~= 0 then return refused end
call('HSET', base .. ':' .. id, field, value)
if field == 'progress' then emit_trimmed(base, read_settings(base), 'progress', 'jobId', id, 'data', value) end
return 0
