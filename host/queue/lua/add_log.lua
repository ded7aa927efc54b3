-- Appends a line to a job's log.
--
-- KEYS[1]  the queue's base key
-- ARGV     1 job id, 2 line, 3 how many lines to keep, or ''
-- Returns  the number of lines kept, or -1 no such job
local key = KEYS[1] .. ':' .. ARGV[1]
if call('EXISTS', key) == 0 then return -1 end
local count = call('RPUSH', key .. ':logs', ARGV[2])
local keep = tonumber(ARGV[3])
if not keep then return count end
call('LTRIM', key .. ':logs', -keep, -1)
return math.min(keep, count)
