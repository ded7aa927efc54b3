-- Gives back jobs whose worker died, and marks the jobs to look at next time.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 now (ms), 2 interval (ms): one check per interval over all workers, 3 max stalled count
-- Returns  the ids of the jobs that had stalled
local base = QUEUE
local now, interval_ms, stalled_max = ARGV[1], ARGV[2], tonumber(ARGV[3])

if call('EXISTS', base .. ':stalled-check') == 1 then return {} end
local settings = read_settings(base)
-- First of all writes, so that jobs come back where Redis has no memory left.
trim_events(base, settings)
call('SET', base .. ':stalled-check', now, 'PX', interval_ms)

-- Jobs of a scheduler are never failed for stalling: the next iteration hangs on them.
local function has_scheduler(key)
  local scheduler = call('HGET', key, 'rjk')
  if not scheduler then return false end
  return call('EXISTS', base .. ':repeat:' .. scheduler) == 1
    or type(redis.pcall('ZSCORE', base .. ':repeat', scheduler)) == 'string'
end

-- Counted here and not by Redis, which refuses a count that is no whole number, such as `2.0`.
local function count_stall(key)
  local before = math.max(0, tonumber(call('HGET', key, 'stc')) or 0)
  local count = math.min(math.floor(before), SAFE_INTEGER_MAX - 1) + 1
  call('HSET', key, 'stc', count)
  return count
end

local function note_stall(key)
  if count_stall(key) > stalled_max and not has_scheduler(key) then
    call('HSET', key, 'defa', 'job stalled more than allowable limit')
  end
end

-- Nothing may fail between a job's leaving `active` and its coming back in line: it would be lost.
local stalled, problem = {}, nil
local candidates = redis.pcall('SMEMBERS', base .. ':stalled')
for _, id in ipairs(candidates.err and {} or candidates) do
  local key = base .. ':' .. id
  local left = call('EXISTS', key .. ':lock') == 0 and call('LREM', base .. ':active', 1, id) == 1
  if left and not has_job_fields(key) then
    -- It was removed while it ran.
    signal_room(base, settings)
  elseif left then
    -- A user of Redis may lack a command.
    local ok, what = pcall(note_stall, key)
    if not ok then problem = problem or what end
    call('RPUSH', base .. settings.line, id)
    signal(base, settings)
    emit(base, 'waiting', 'jobId', id, 'prev', 'active')
    emit(base, 'stalled', 'jobId', id)
    stalled[#stalled + 1] = id
  end
end

call('DEL', base .. ':stalled')
in_chunks(call('LRANGE', base .. ':active', 0, -1), function(...) call('SADD', base .. ':stalled', ...) end)
if problem then raise(problem) end
return stalled
