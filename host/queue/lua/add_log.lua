-- Appends a line to a job's log.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 who writes (lib/writer.lua), 3 line, 4 how many lines to keep, or '', 5 caller or '', 6 number of
--          its call, 7 '1' when the call is a repetition (see `lib/request.lua`)
-- Returns  the number of lines kept, or -1 no such job, -2 no lock, -6 not our lock
local id, caller, number = ARGV[1], ARGV[5], ARGV[6]
local reply = earlier_reply(caller, number, ARGV[7] == '1')
if reply then return reply end
local refused = check_writer(QUEUE, id, ARGV[2])
if refused ~= 0 then return refused end
local logs = QUEUE .. ':' .. id .. ':logs'
local count = call('RPUSH', logs, ARGV[3])
local keep = tonumber(ARGV[4])
if keep then
  call('LTRIM', logs, -keep, -1)
  count = math.min(keep, count)
end
return note_reply(caller, number, count)
