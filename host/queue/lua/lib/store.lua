-- Storing a new job and putting it in line.

-- `job`: name, data, opts (JSON text), delay, priority, lifo, parent_key, parent (JSON text),
-- scheduler (repeat job key), deduplication (id). Absent ones are nil.
local function store_job(base, id, job, now)
  local fields = { 'name', job.name, 'data', job.data, 'opts', job.opts, 'timestamp', now,
    'delay', job.delay, 'priority', job.priority }
  local function add(name, value)
    if value then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  if job.parent_key then
    add('parentKey', job.parent_key)
    add('parent', job.parent)
  end
  add('rjk', job.scheduler)
  add('deid', job.deduplication)
  call('HSET', base .. ':' .. id, unpack(fields))
  emit(base, 'added', 'jobId', id, 'name', job.name)
end

local function enqueue_job(base, settings, id, job, now)
  if job.delay > 0 then
    add_delayed(base, settings, id, now + job.delay)
    signal_delayed(base)
    return
  end
  add_ready(base, settings, id, job.priority, job.lifo and 'RPUSH' or 'LPUSH')
  signal(base, settings)
  emit_trimmed(base, settings, 'waiting', 'jobId', id)
end
