-- Writes to a job, as the attempt at it does.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 who writes (lib/writer.lua), 3 how many lines of its log to keep, or '', then pairs: a field and its
--          value, or '' and a line for the log
--          The last three are of `lib/request.lua`, which takes them off.
-- Returns  how many lines the log keeps, 0 where none was added; or -1 no such job, -2 no lock, -6 not our lock
local base, id = QUEUE, ARGV[1]
local refused = check_writer(base, id, ARGV[2])
if refused ~= 0 then return refused end
local key, fields, lines = base .. ':' .. id, {}, {}
for at = 4, #ARGV, 2 do
  local field, value = ARGV[at], ARGV[at + 1]
  if field == '' then
    lines[#lines + 1] = value
  else
    fields[#fields + 1], fields[#fields + 2] = field, value
  end
end
local count = 0
if #lines > 0 then
  count = call('RPUSH', key .. ':logs', unpack(lines))
  local keep = tonumber(ARGV[3])
  if keep then
    call('LTRIM', key .. ':logs', -keep, -1)
    count = math.min(keep, count)
  end
end
-- Of a field that is there twice, the last value stays.
if #fields > 0 then call('HSET', key, unpack(fields)) end
local settings
for at = 1, #fields, 2 do
  if fields[at] == 'progress' then
    settings = settings or read_settings(base)
    emit_trimmed(base, settings, 'progress', 'jobId', id, 'data', fields[at + 1])
  end
end
return count
