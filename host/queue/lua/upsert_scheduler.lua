-- Adds a job scheduler and its first job, or changes a scheduler and exchanges its next job.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 now (ms), 2 scheduler id, 3 time of the current job as it was read, or '', 4 '1' if that job waits and is
--          exchanged, 5 time of the next job (ms), 6 its opts (JSON text), 7 priority, 8 '1' for lifo, 9 deduplication id
--          or '', 10 name, 11 data, 12.. fields of the scheduler: names and values in turn
-- Returns  the id of the next job, or 0 the scheduler does not stand where it was read, 1 there is a job of this id
local base, now, scheduler = QUEUE, tonumber(ARGV[1]), ARGV[2]
local schedulers = base .. ':repeat'
local scheduler_key = schedulers .. ':' .. scheduler
local current, next_ms = call('ZSCORE', schedulers, scheduler), ARGV[5]
if (current or '') ~= ARGV[3] then return 0 end

local current_id = 'repeat:' .. scheduler .. ':' .. (current or '')
local state = current and has_job_fields(base .. ':' .. current_id) and state_of(base, current_id)
local waits = state == 'delayed' or state == 'prioritized' or state == 'waiting'
if waits ~= (ARGV[4] == '1') then return 0 end
local id = 'repeat:' .. scheduler .. ':' .. next_ms
if not (waits and id == current_id) and call('EXISTS', base .. ':' .. id) == 1 then return 1 end

-- The first write must be one that Redis refuses when its memory is full, or all of them would pass.
call('INCR', base .. ':id')
local settings = read_settings(base)
if waits then
  take_out(base, current_id)
  free_deduplication(base, current_id, call('HGET', base .. ':' .. current_id, 'deid'))
  remove_job_keys(base .. ':' .. current_id)
end
call('ZADD', schedulers, next_ms, scheduler)
local kept = redis.pcall('HMGET', scheduler_key, 'ic', 'offset')
local fields = { 'name', ARGV[10], 'ic', not kept.err and kept[1] or 1 }
local has_offset = false
for at = 12, #ARGV, 2 do
  has_offset = has_offset or ARGV[at] == 'offset'
  fields[#fields + 1] = ARGV[at]
  fields[#fields + 1] = ARGV[at + 1]
end
if not has_offset and not kept.err and kept[2] then
  fields[#fields + 1] = 'offset'
  fields[#fields + 1] = kept[2]
end
call('DEL', scheduler_key)
call('HSET', scheduler_key, unpack(fields))
local job = {
  name = ARGV[10], data = ARGV[11], opts = ARGV[6], scheduler = scheduler,
  delay = math.max(0, tonumber(next_ms) - now), priority = tonumber(ARGV[7]), lifo = ARGV[8] == '1',
  deduplication = ARGV[9] ~= '' and ARGV[9] or nil,
}
store_job(base, id, job, now)
-- A scheduler's priority is not checked: as in BullMQ one below zero is none in line.
job.priority = math.max(0, job.priority)
enqueue_job(base, settings, id, job, now)
return id
