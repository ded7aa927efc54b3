-- Which queues a call may reach beyond the job that it names: a removal takes children along, and takes a job out
-- of its parent. Asked in the script that writes, so that nothing changes in between.

-- Reads an access from the arguments: the key of the job that may be a parent wherever it is, a prefix whose
-- queues are all admitted or '', the base keys of further queues. Nil where there are no such arguments.
local function read_access(from)
  if not ARGV[from] then return nil end
  local access = { own_job = ARGV[from], bases = {} }
  if ARGV[from + 1] ~= '' then access.prefix = ARGV[from + 1] .. ':' end
  for at = from + 2, #ARGV do access.bases[ARGV[at]] = true end
  return access
end

local function admits(access, base)
  if access.bases[base] then return true end
  local prefix = access.prefix
  return prefix and #base > #prefix and string.sub(base, 1, #prefix) == prefix
    and not string.find(base, ':', #prefix + 1, true)
end

-- The base key of the queue of a job's parent that is neither admitted nor that of the own job, or nil.
local function parent_beyond_access(access, key)
  local fields = call('HMGET', key, 'parentKey', 'parent')
  local base, id = parent_of(fields[1], fields[2])
  if base and base .. ':' .. id ~= access.own_job and not admits(access, base) then return base end
  return nil
end

-- The base key of a queue that removing this job would write to although it is not admitted, or nil.
local function beyond_access(access, base, id, with_children, unprocessed_only, seen)
  local key = base .. ':' .. id
  if seen[key] then return nil end
  seen[key] = true
  if not has_job_fields(key) then return nil end
  if unprocessed_only and (call('EXISTS', key .. ':lock') == 1
      or call('ZSCORE', base .. ':completed', id) or call('ZSCORE', base .. ':failed', id)) then
    return nil
  end
  if not admits(access, base) then return base end
  local parent_beyond = parent_beyond_access(access, key)
  if parent_beyond or not with_children then return parent_beyond end
  for _, child in ipairs(children_of(key, unprocessed_only)) do
    local child_base, child_id = split_job_key(child)
    local beyond = not child_base and child
      or child_base and beyond_access(access, child_base, child_id, true, unprocessed_only, seen)
    if beyond then return beyond end
  end
  return nil
end
