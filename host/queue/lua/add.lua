-- Adds jobs: one, many, or whole flows, in any queues. All of them or none.
--
-- KEYS[1]  `base:meta` of the first job's queue
-- ARGV     JOB_SIZE values per job, parents before their children:
--          1 base key of its queue, 2 job id or '', 3 name, 4 data, 5 opts (JSON text), 6 timestamp (ms),
--          7 delay (ms), 8 priority, 9 '1' for lifo, 10 parent key or '', 11 parent record (JSON text) or '',
--          12 '1' when it waits for children that are added with it, 13 deduplication options (JSON text) or ''
--          The last three are of `lib/request.lua`, which takes them off.
-- Returns  the ids of the jobs in order, or { code, number of the job (from 1) }:
--          -5 no such parent, -7 the job has another parent that still exists, -10 its parents form a circle,
--          -11 its id is the name of something else
--
-- The first write must be one that Redis refuses when its memory is full (INCR), or all of them would pass.
local JOB_SIZE = 13

local jobs = {}
for at = 1, #ARGV, JOB_SIZE do
  local job = {
    base = ARGV[at], id = ARGV[at + 1], name = ARGV[at + 2], data = ARGV[at + 3], opts = ARGV[at + 4],
    timestamp = tonumber(ARGV[at + 5]), delay = tonumber(ARGV[at + 6]), priority = tonumber(ARGV[at + 7]),
    lifo = ARGV[at + 8] == '1', waits = ARGV[at + 11] == '1',
  }
  if job.id ~= '' then job.key = job.base .. ':' .. job.id end
  if ARGV[at + 12] ~= '' then
    job.de = cjson.decode(ARGV[at + 12])
    job.deduplication = job.de.id
  end
  if ARGV[at + 9] ~= '' then job.parent_key, job.parent = ARGV[at + 9], ARGV[at + 10] end
  jobs[#jobs + 1] = job
end

-- True when `key` is among the ancestors of the job `from`, or is that job.
local function is_ancestor(key, from)
  local seen = {}
  while from and not seen[from] do
    if from == key then return true end
    seen[from] = true
    from = call('HGET', from, 'parentKey')
  end
  return false
end

-- Keys of the jobs before the one that is looked at, and the parents that those named.
local planned, planned_parents = {}, {}

local function exists(key)
  return planned[key] or call('EXISTS', key) == 1
end

local function has_parent(job)
  if planned[job.parent_key] then return true end
  local base, id = parent_of(job.parent_key, job.parent)
  return is_job(base, tostring(id))
end

-- What is wrong with adding this job, or nil.
local function refuse(job)
  if job.parent_key and not has_parent(job) then return -5 end
  if not job.key then return nil end
  if job.parent_key == job.key then return -10 end
  if planned[job.key] then
    local other = planned_parents[job.key]
    if job.parent_key and other and other ~= job.parent_key then return -7 end
    return nil
  end
  if call('EXISTS', job.key) == 0 then return nil end
  if not is_job(job.base, job.id) then return -11 end
  if job.parent_key then
    local other = call('HGET', job.key, 'parentKey')
    if other and other ~= job.parent_key and exists(other) then return -7 end
    if is_ancestor(job.key, job.parent_key) then return -10 end
  end
end

for number, job in ipairs(jobs) do
  local code = refuse(job)
  if code then return { code, number } end
  if job.key then
    planned[job.key] = true
    planned_parents[job.key] = planned_parents[job.key] or job.parent_key
  end
end

local queues = {}
local function settings_of(base)
  if not queues[base] then
    queues[base] = read_settings(base)
  end
  return queues[base]
end

-- Parents that were here before, or whose children were: they may be free at once.
local parents_to_look_at = {}

-- A job with this id exists: it is not added again, but it becomes the child of this parent.
local function adopt(job, settings)
  if job.parent_key then
    if call('ZSCORE', job.base .. ':completed', job.id) then
      call('HSET', job.parent_key .. ':processed', job.key, call('HGET', job.key, 'returnvalue') or 'null')
      parents_to_look_at[job.parent_key] = job
    else
      call('SADD', job.parent_key .. ':dependencies', job.key)
    end
    call('HSET', job.key, 'parentKey', job.parent_key, 'parent', job.parent)
  end
  emit_trimmed(job.base, settings, 'duplicated', 'jobId', job.id)
end

local function add(job, settings, counter)
  if not job.key then
    job.id = tostring(counter)
    job.key = job.base .. ':' .. job.id
  end
  local holder = job.de and deduplicate(job.base, settings, job, job.id, job.timestamp)
  if holder then
    job.id = holder
    return
  end
  store_job(job.base, job.id, job, job.timestamp)
  if job.waits then
    call('ZADD', job.base .. ':waiting-children', job.timestamp, job.id)
    emit_trimmed(job.base, settings, 'waiting-children', 'jobId', job.id)
  else
    enqueue_job(job.base, settings, job.id, job, job.timestamp)
  end
  if job.parent_key then call('SADD', job.parent_key .. ':dependencies', job.key) end
end

local ids = {}
for number, job in ipairs(jobs) do
  local counter = call('INCR', job.base .. ':id')
  local settings = settings_of(job.base)
  -- Asked now, not before: the job may have been added by this call.
  if job.key and call('EXISTS', job.key) == 1 then
    adopt(job, settings)
  else
    add(job, settings, counter)
  end
  ids[number] = job.id
end
for _, job in pairs(parents_to_look_at) do
  local base, id = parent_of(job.parent_key, job.parent)
  release_parent_if_free(base, id, job.timestamp)
end
return ids
