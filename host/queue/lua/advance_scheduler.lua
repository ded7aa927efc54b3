-- Adds the next job of a scheduler, when the current one was picked up.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 now (ms), 2 scheduler id, 3 time of the current job (ms), 4 time of the next one (ms),
--          5 opts (JSON text), 6 priority, 7 '1' for lifo, 8 deduplication id or ''
-- Returns  the id of the next job, or false where the scheduler is gone or went on already
local base, now, scheduler = QUEUE, tonumber(ARGV[1]), ARGV[2]
local current, next_ms = ARGV[3], ARGV[4]
local schedulers = base .. ':repeat'
local scheduler_key = schedulers .. ':' .. scheduler
if call('ZSCORE', schedulers, scheduler) ~= current then return false end
local template = call('HMGET', scheduler_key, 'name', 'data')
if not template[1] then return false end

local settings = read_settings(base)
local id = 'repeat:' .. scheduler .. ':' .. next_ms
if call('EXISTS', base .. ':' .. id) == 1 then
  emit_trimmed(base, settings, 'duplicated', 'jobId', id)
  return false
end
call('ZADD', schedulers, next_ms, scheduler)
-- For BullMQ's eyes only: a count that is no number must not end the chain.
redis.pcall('HINCRBY', scheduler_key, 'ic', 1)
call('INCR', base .. ':id')
local job = {
  name = template[1], data = template[2] or '{}', opts = ARGV[5], scheduler = scheduler,
  delay = math.max(0, tonumber(next_ms) - now), priority = tonumber(ARGV[6]), lifo = ARGV[7] == '1',
  -- As in BullMQ the job carries it, and claims nothing.
  deduplication = ARGV[8] ~= '' and ARGV[8] or nil,
}
store_job(base, id, job, now)
-- A scheduler's priority is not checked: as in BullMQ one below zero is none in line.
job.priority = math.max(0, job.priority)
enqueue_job(base, settings, id, job, now)
return id
