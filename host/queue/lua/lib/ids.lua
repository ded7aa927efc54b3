-- Which ids name a job of a queue. A queue's other keys (`meta`, `wait`, `repeat:ID`) have names like jobs,
-- and an id with colons can spell a key of another queue: nothing may be written to those.

-- Only a job's hash has a name and one of the others. A job that was written by hand may lack the time when it was
-- added: once it has started, it is a job as any other.
local function has_job_fields(key)
  local fields = redis.pcall('HMGET', key, 'name', 'timestamp', 'ats')
  return not fields.err and fields[1] and (fields[2] or fields[3]) and true or false
end

local function state_of(base, id)
  for _, state in ipairs({ 'completed', 'failed', 'delayed', 'prioritized', 'waiting-children' }) do
    if call('ZSCORE', base .. ':' .. state, id) then return state end
  end
  if call('LPOS', base .. ':active', id) then return 'active' end
  if call('LPOS', base .. ':wait', id) or call('LPOS', base .. ':paused', id) then return 'waiting' end
  return 'unknown'
end

-- An id with a colon counts where the queue itself lists it.
local function is_job(base, id)
  if not has_job_fields(base .. ':' .. id) then return false end
  return not string.find(id, ':', 1, true) or state_of(base, id) ~= 'unknown'
end
