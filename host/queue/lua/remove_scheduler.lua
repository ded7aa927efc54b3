-- Removes a job scheduler and its next job, if that is delayed.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 scheduler id
--          The last three are of `lib/request.lua`, which takes them off.
-- Returns  1, or 0 no such scheduler
local base, scheduler = QUEUE, ARGV[1]
local schedulers = base .. ':repeat'
local next_ms = call('ZSCORE', schedulers, scheduler)
if not next_ms then return 0 end
local id = 'repeat:' .. scheduler .. ':' .. next_ms
if call('ZREM', base .. ':delayed', id) == 1 then
  remove_job_keys(base .. ':' .. id)
  emit(base, 'removed', 'jobId', id, 'prev', 'delayed')
end
call('ZREM', schedulers, scheduler)
call('DEL', schedulers .. ':' .. scheduler)
return 1
