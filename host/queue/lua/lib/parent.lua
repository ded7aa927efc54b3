-- Parents and children. A parent holds its pending children in the set `dependencies`; what became
-- of the others stands in `processed` (values), `failed` (errors that it may ignore) and
-- `unsuccessful` (failures that fail it too).

-- Splits `prefix:queue:id`. Only for parents stored without their own record: ids may hold colons.
local function split_job_key(key)
  return string.match(key, '^(.*):([^:]*)$')
end

-- Finds the parent of a job from its fields `parentKey` and `parent`: base, id, the record.
local function parent_of(parent_key, parent_json)
  if parent_json then
    local ok, parent = pcall(cjson.decode, parent_json)
    if ok and type(parent) == 'table' and type(parent.queueKey) == 'string'
        and (type(parent.id) == 'string' or type(parent.id) == 'number') then
      return parent.queueKey, parent.id, parent
    end
  end
  if parent_key and parent_key ~= '' then
    local base, id = split_job_key(parent_key)
    return base, id, {}
  end
end

-- Puts a parent that waits in the set of this state where workers take it from, with these fields in its hash. True: it
-- waited there. What a user of Redis may not do must fail before it leaves the set.
local function release_parent(base, id, state, now, ...)
  local key, set = base .. ':' .. id, base .. ':' .. state
  if not call('ZSCORE', set, id) then return false end
  if ... then call('HSET', key, ...) end
  local fields, settings = call('HMGET', key, 'priority', 'delay'), read_settings(base)
  call('ZREM', set, id)
  local delay = tonumber(fields[2]) or 0
  if delay > 0 then
    add_delayed(base, settings, id, now + delay)
    signal_delayed(base)
    return true
  end
  add_ready(base, settings, id, tonumber(fields[1]) or 0, 'RPUSH')
  signal(base, settings)
  emit(base, 'waiting', 'jobId', id, 'prev', 'waiting-children')
  return true
end

local function release_parent_if_waiting(base, id, now)
  if call('EXISTS', base .. ':' .. id) == 1 then release_parent(base, id, 'waiting-children', now) end
end

local function release_parent_if_free(base, id, now)
  if call('SCARD', base .. ':' .. id .. ':dependencies') == 0 then
    release_parent_if_waiting(base, id, now)
  end
end

-- A child completed: its value goes to the parent.
local function child_completed(base, id, child_key, value, now)
  local key = base .. ':' .. id
  if call('SREM', key .. ':dependencies', child_key) == 1 then
    call('HSET', key .. ':processed', child_key, value)
    release_parent_if_free(base, id, now)
  end
end

-- Fails a parent together with its child. It learns of it when it is picked up next.
local function fail_parent(base, id, child_key, now)
  local key = base .. ':' .. id
  if call('EXISTS', key) == 0 then return end
  local reason = 'child ' .. child_key .. ' failed'
  if release_parent(base, id, 'waiting-children', now, 'defa', reason) then return end
  if release_parent(base, id, 'delayed', now, 'delay', 0, 'defa', reason) then return end
  if not call('ZSCORE', base .. ':failed', id) then call('HSET', key, 'defa', reason) end
end

-- A child failed for good: what that means is written in the record of its parent.
local function child_failed(base, id, policy, child_key, reason, now)
  if not (policy.fpof or policy.cpof or policy.idof or policy.rdof) then return end
  local key = base .. ':' .. id
  if call('SREM', key .. ':dependencies', child_key) == 0 then return end
  if policy.fpof then
    call('ZADD', key .. ':unsuccessful', now, child_key)
    fail_parent(base, id, child_key, now)
  elseif policy.cpof then
    call('HSET', key .. ':failed', child_key, reason)
    release_parent_if_waiting(base, id, now)
  else
    release_parent_if_free(base, id, now)
    if policy.idof then call('HSET', key .. ':failed', child_key, reason) end
  end
end
