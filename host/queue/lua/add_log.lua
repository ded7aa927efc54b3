-- Appends a line to a job's log.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 line, 3 how many lines to keep, or '', 4 caller or '', 5 number of its call,
--          6 '1' when the call is a repetition (see `lib/request.lua`)
-- Returns  the number of lines kept, or -1 no such job
local id, caller, number = ARGV[1], ARGV[4], ARGV[5]
local reply = earlier_reply(caller, number, ARGV[6] == '1')
if reply then return reply end
if not is_job(QUEUE, id) then return -1 end
local logs = QUEUE .. ':' .. id .. ':logs'
local count = call('RPUSH', logs, ARGV[2])
local keep = tonumber(ARGV[3])
if keep then
  call('LTRIM', logs, -keep, -1)
  count = math.min(keep, count)
end
return note_reply(caller, number, count)
