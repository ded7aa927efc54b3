-- Who may write to a job: the holder of its lock; the attempt that moved it, until another attempt takes it; and
-- callers that are not attempts.

-- `token` is that of the lock, '' from an attempt that moved its job and has no lock any more, or '*' from outside.
-- Returns 0, or -1 no such job, -2 no lock, -6 not our lock.
local function check_writer(base, id, token)
  local key = base .. ':' .. id
  if token == '*' then return is_job(base, id) and 0 or -1 end
  if token == '' then
    if not is_job(base, id) then return -1 end
    -- It was taken since.
    return call('EXISTS', key .. ':lock') == 1 and -6 or 0
  end
  if not has_job_fields(key) then return -1 end
  local held = call('GET', key .. ':lock')
  return held == token and 0 or held and -6 or -2
end
