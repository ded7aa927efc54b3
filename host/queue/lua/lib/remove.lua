-- Removing jobs.

local function remove_job_keys(key)
  return call('DEL', key, key .. ':logs', key .. ':dependencies', key .. ':processed', key .. ':failed',
    key .. ':unsuccessful')
end

-- Takes a job that goes away out of its parent's pending children; the last one releases the parent.
local function drop_dependency(child_key, parent_key, parent_json)
  local base, id = parent_of(parent_key, parent_json)
  if not base then return end
  local dependencies = base .. ':' .. id .. ':dependencies'
  if call('SREM', dependencies, child_key) == 0 or call('SCARD', dependencies) > 0 then return end
  local settings = read_settings(base)
  if call('ZREM', base .. ':waiting-children', id) == 1 then
    call('RPUSH', base .. settings.line, id)
    signal(base, settings)
    emit(base, 'waiting', 'jobId', id, 'prev', 'waiting-children')
  end
end

-- Removes finished jobs that a retention rule no longer keeps. Their set is trimmed by the caller. One that is no
-- job, or whose parent is none, is nothing to the jobs for which the rule is applied.
local function remove_finished(base, ids)
  for _, id in ipairs(ids) do
    local key = base .. ':' .. id
    local fields = redis.pcall('HMGET', key, 'parentKey', 'parent')
    if not fields.err then
      if fields[1] or fields[2] then pcall(drop_dependency, key, fields[1], fields[2]) end
      remove_job_keys(key)
    end
  end
end

-- As BullMQ: more are removed when the next job ends.
local REMOVED_BY_AGE_MAX = 1000

-- Applies `removeOnComplete` / `removeOnFail` to the finished set `target`: `age` in seconds,
-- at most `limit` jobs by age, `count` newest jobs kept. Redis takes no number above 10^17 from Lua for a whole one.
local function retain_finished(base, target, now, count, age, limit)
  local set = base .. ':' .. target
  limit = math.min(limit, SAFE_INTEGER_MAX)
  count = count and math.min(count, SAFE_INTEGER_MAX)
  if age then
    local oldest = now - age * 1000
    local ids = call('ZREVRANGEBYSCORE', set, oldest, '-inf', 'LIMIT', 0, limit)
    remove_finished(base, ids)
    in_chunks(ids, function(...) call('ZREM', set, ...) end)
  end
  if count and count > 0 then
    remove_finished(base, call('ZREVRANGE', set, count, -1))
    call('ZREMRANGEBYRANK', set, 0, -(count + 1))
  end
end

-- Takes a job out of whatever holds it and returns that state.
local function take_out(base, id)
  for _, state in ipairs({ 'completed', 'waiting-children', 'delayed', 'failed', 'prioritized' }) do
    if call('ZREM', base .. ':' .. state, id) == 1 then return state end
  end
  for _, state in ipairs({ 'wait', 'paused', 'active' }) do
    if call('LREM', base .. ':' .. state, 1, id) == 1 then return state end
  end
  return 'unknown'
end

-- A deduplication id is free again when its holder is removed.
local function free_deduplication(base, id, deduplication_id)
  if not deduplication_id then return end
  local key = base .. ':de:' .. deduplication_id
  if call('GET', key) == id then call('DEL', key, base .. ':dn:' .. deduplication_id) end
end

local function children_of(key, unprocessed_only)
  local children = call('SMEMBERS', key .. ':dependencies')
  if unprocessed_only then return children end
  for _, finished in ipairs({ call('HKEYS', key .. ':processed'), call('HKEYS', key .. ':failed'),
    call('ZRANGE', key .. ':unsuccessful', 0, -1) }) do
    for _, child in ipairs(finished) do children[#children + 1] = child end
  end
  return children
end

-- True when the job, or a child of it at any depth, is being worked on: also one that has ended below it, was removed and
-- added again. `seen` has the keys that were looked at: such a job can be below its own child.
local function any_locked(key, with_children, seen)
  if seen[key] then return false end
  seen[key] = true
  if call('EXISTS', key .. ':lock') == 1 then return true end
  if with_children then
    for _, child in ipairs(children_of(key)) do
      if any_locked(child, true, seen) then return true end
    end
  end
  return false
end

-- Removes a job and, depth first, its children. What is no job is left alone; `unprocessed_only` spares what is
-- active or finished. `seen` has the keys of those that are being removed.
local function remove_tree(base, id, with_children, unprocessed_only, seen)
  local key = (base or '') .. ':' .. (id or '')
  if seen[key] or not has_job_fields(key) then return end
  seen[key] = true
  if unprocessed_only and (call('EXISTS', key .. ':lock') == 1
      or call('ZSCORE', base .. ':completed', id) or call('ZSCORE', base .. ':failed', id)) then
    return
  end
  local fields = call('HMGET', key, 'name', 'parentKey', 'parent', 'deid')
  drop_dependency(key, fields[2], fields[3])
  if with_children then
    for _, child in ipairs(children_of(key, unprocessed_only)) do
      local child_base, child_id = split_job_key(child)
      remove_tree(child_base, child_id, true, unprocessed_only, seen)
    end
  end
  local state = take_out(base, id)
  free_deduplication(base, id, fields[4])
  if remove_job_keys(key) > 0 then emit(base, 'removed', 'jobId', id, 'prev', state) end
  -- Last: it fails where the queue's settings are no hash, and nothing of the job may be left then.
  if state == 'active' then signal_room(base, read_settings(base)) end
end
