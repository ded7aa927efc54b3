-- Adds one job.
--
-- KEYS[1]  the queue's base key
-- ARGV     1 now (ms), 2 job id or '', 3 name, 4 data, 5 opts (JSON text), 6 delay (ms), 7 priority,
--          8 '1' for lifo, 9 parent key or '', 10 parent record (JSON text) or ''
-- Returns  the job's id, or -5 no such parent, -7 the job has another parent that still exists
local base = KEYS[1]
local now = tonumber(ARGV[1])
local job = {
  name = ARGV[3], data = ARGV[4], opts = ARGV[5], delay = tonumber(ARGV[6]), priority = tonumber(ARGV[7]),
  lifo = ARGV[8] == '1',
}
if ARGV[9] ~= '' then
  job.parent_key, job.parent = ARGV[9], ARGV[10]
  if call('EXISTS', job.parent_key) == 0 then return -5 end
end

-- A job with this id exists: it is not added again, but it may become the child of this parent.
local function adopt_existing(id)
  local key = base .. ':' .. id
  local fields = call('HMGET', key, 'parentKey', 'returnvalue')
  local other = fields[1] and fields[1] ~= job.parent_key and call('EXISTS', fields[1]) == 1
  if other and job.parent_key then return -7 end
  if job.parent_key and not other then
    if call('ZSCORE', base .. ':completed', id) then
      local parent_base, parent_id = parent_of(job.parent_key, job.parent)
      call('HSET', job.parent_key .. ':processed', key, fields[2] or 'null')
      release_parent_if_free(parent_base, parent_id, now)
    else
      call('SADD', job.parent_key .. ':dependencies', key)
    end
    call('HSET', key, 'parentKey', job.parent_key, 'parent', job.parent)
  end
  emit(base, 'duplicated', 'jobId', id)
  return id
end

local settings = read_settings(base)
trim_events(base, settings)
local counter = call('INCR', base .. ':id')
local id = ARGV[2]
if id == '' then
  id = tostring(counter)
elseif call('EXISTS', base .. ':' .. id) == 1 then
  return adopt_existing(id)
end
store_job(base, id, job, now)
enqueue_job(base, settings, id, job, now)
if job.parent_key then call('SADD', job.parent_key .. ':dependencies', base .. ':' .. id) end
return id
