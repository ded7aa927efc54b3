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
  if call('SREM', dependencies, child_key) == 1 and call('SCARD', dependencies) == 0
      and call('ZREM', base .. ':waiting-children', id) == 1 then
    call('RPUSH', base .. ':wait', id)
    signal(base, read_settings(base))
    emit(base, 'waiting', 'jobId', id, 'prev', 'waiting-children')
  end
end

-- Removes finished jobs that a retention rule no longer keeps. Their set is trimmed by the caller.
local function remove_finished(base, ids)
  for _, id in ipairs(ids) do
    local key = base .. ':' .. id
    local fields = call('HMGET', key, 'parentKey', 'parent')
    drop_dependency(key, fields[1], fields[2])
    remove_job_keys(key)
  end
end

-- Applies `removeOnComplete` / `removeOnFail` to the finished set `target`: `age` in seconds,
-- at most `limit` jobs by age in one call, `count` newest jobs kept.
local function retain_finished(base, target, now, count, age, limit)
  local set = base .. ':' .. target
  if age then
    local oldest = now - age * 1000
    local ids = call('ZREVRANGEBYSCORE', set, oldest, '-inf', 'LIMIT', 0, limit or 1000)
    remove_finished(base, ids)
    in_chunks(ids, function(...) call('ZREM', set, ...) end)
  end
  if count and count > 0 then
    remove_finished(base, call('ZREVRANGE', set, count, -1))
    call('ZREMRANGEBYRANK', set, 0, -(count + 1))
  end
end
