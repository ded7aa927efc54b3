-- Changes one field of a job that its worker is running.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 lock token, or '' when the job was moved and has no lock, 3 field, 4 value
-- Returns  0, or -1 no such job, -2 no lock, -6 not our lock
local base, id, token, field, value = QUEUE, ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local key = base .. ':' .. id
if token == '' then
  if not is_job(base, id) then return -1 end
  -- It was taken since.
  if call('EXISTS', key .. ':lock') == 1 then return -6 end
else
  if not has_job_fields(key) then return -1 end
  local held = call('GET', key .. ':lock')
  if held ~= token then return held and -6 or -2 end
end
call('HSET', key, field, value)
if field == 'progress' then emit_trimmed(base, read_settings(base), 'progress', 'jobId', id, 'data', value) end
return 0
