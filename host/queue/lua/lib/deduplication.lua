-- Deduplication: `de:ID` names the job that holds a deduplication id, `dn:ID` the newest job that was
-- added while the holder was active (`keepLastIfActive`).

local function hold_deduplication(base, deduplication_id, job_id, options)
  local key = base .. ':de:' .. deduplication_id
  local ttl = tonumber(options and options.ttl)
  if ttl and ttl > 0 and not options.keepLastIfActive then
    -- Redis refuses what is no whole number and what no clock reaches, and jobs before this one are stored already.
    call('SET', key, job_id, 'PX', math.min(math.ceil(ttl), SAFE_INTEGER_MAX))
  else
    call('SET', key, job_id)
  end
end

-- The holder finished: frees the id, then brings in the job that was kept for this moment.
local function finish_deduplication(base, settings, deduplication_id, job_id, now)
  local key = base .. ':de:' .. deduplication_id
  -- One that has a time to live runs out by itself.
  if call('PTTL', key) == -1 and call('GET', key) == job_id then call('DEL', key) end

  local next_key = base .. ':dn:' .. deduplication_id
  local kept = call('HMGET', next_key, 'name', 'data', 'opts', 'pk', 'pd', 'pdk', 'rjk', 'jid')
  if not kept[1] then return end
  local counter = call('INCR', base .. ':id')
  local id = kept[8] or tostring(counter)
  -- Its id was free when it was kept. A job that has it by now is not stored over, and not put in line twice.
  if call('EXISTS', base .. ':' .. id) == 1 then
    call('DEL', next_key)
    emit(base, 'duplicated', 'jobId', id)
    return
  end
  local ok, options = pcall(cjson.decode, kept[3] or '{}')
  if not ok or type(options) ~= 'table' then options = {} end
  hold_deduplication(base, deduplication_id, id, type(options.de) == 'table' and options.de or nil)
  local job = {
    name = kept[1], data = kept[2] or '{}', opts = kept[3] or '{}', parent_key = kept[4] or nil,
    parent = kept[5] or nil, scheduler = kept[7] or nil, deduplication = deduplication_id,
    delay = tonumber(options.delay) or 0, priority = tonumber(options.priority) or 0, lifo = options.lifo,
  }
  store_job(base, id, job, now)
  enqueue_job(base, settings, id, job, now)
  if kept[6] then call('SADD', kept[6], base .. ':' .. id) end
  call('DEL', next_key)
end

-- A key without a time to live goes with its holder; one whose holder is gone is left over from a crash.
local function is_stale(base, key, holder)
  return call('PTTL', key) == -1 and call('EXISTS', base .. ':' .. holder) == 0
end

-- Keeps the newest job that was refused while the holder was active. True: it was kept.
local function keep_next(base, job, id, holder, key)
  if not job.de.keepLastIfActive or not call('LPOS', base .. ':active', holder) then return false end
  local next_key = base .. ':dn:' .. job.deduplication
  local fields = { 'name', job.name, 'data', job.data, 'opts', job.opts, 'jid', id }
  if job.scheduler then
    fields[#fields + 1] = 'rjk'
    fields[#fields + 1] = job.scheduler
  end
  call('DEL', next_key)
  call('HSET', next_key, unpack(fields))
  -- The id must stay held for as long as the holder is active.
  call('PERSIST', key)
  return true
end

local function emit_deduplicated(base, settings, job, kept, refused)
  emit_trimmed(base, settings, 'deduplicated', 'jobId', kept, 'deduplicationId', job.deduplication, 'deduplicatedJobId', refused)
end

-- Takes the place of a holder that is still delayed. True: it did.
local function replace_delayed(base, settings, job, id, holder, key)
  if call('ZREM', base .. ':delayed', holder) == 0 then return false end
  remove_job_keys(base .. ':' .. holder)
  emit(base, 'removed', 'jobId', holder, 'prev', 'delayed')
  emit_deduplicated(base, settings, job, id, holder)
  call('DEL', base .. ':dn:' .. job.deduplication)
  local ttl = tonumber(job.de.ttl)
  if ttl and ttl > 0 and not job.de.extend and not job.de.keepLastIfActive then
    call('SET', key, id, 'KEEPTTL')
  else
    hold_deduplication(base, job.deduplication, id, job.de)
  end
  return true
end

local function reschedule(base, settings, job, holder, now)
  if not call('ZSCORE', base .. ':delayed', holder) then return end
  call('HSET', base .. ':' .. holder, 'delay', job.delay)
  add_delayed(base, settings, holder, now + job.delay)
  signal_delayed(base)
end

-- Claims the deduplication id for the new job `id`. Returns the job that holds it already, if it stays.
local function deduplicate(base, settings, job, id, now)
  local key = base .. ':de:' .. job.deduplication
  local holder = call('GET', key)
  if holder and is_stale(base, key, holder) then
    call('DEL', key, base .. ':dn:' .. job.deduplication)
    holder = false
  end
  if not holder then
    hold_deduplication(base, job.deduplication, id, job.de)
    return nil
  end
  if job.de.replace then
    if replace_delayed(base, settings, job, id, holder, key) then return nil end
    if keep_next(base, job, id, holder, key) then emit_deduplicated(base, settings, job, holder, id) end
    return holder
  end
  if not keep_next(base, job, id, holder, key) and job.de.extend and (tonumber(job.de.ttl) or 0) > 0 then
    hold_deduplication(base, job.deduplication, holder, job.de)
  end
  emit_deduplicated(base, settings, job, holder, id)
  if job.de.reschedule then reschedule(base, settings, job, holder, now) end
  return holder
end
