-- Events of calls that add jobs, and refusals of Redis that are told.

-- Emits where jobs are added, which is what makes the stream grow: it is kept to its length here.
local function emit_trimmed(base, settings, event, ...)
  if not settings.events_max then
    -- The one entry of `meta` that a BullMQ queue must have.
    settings.events_max = EVENTS_MAX_DEFAULT
    call('HSET', base .. ':meta', 'opts.maxLenEvents', EVENTS_MAX_DEFAULT)
  end
  call('XADD', base .. ':events', 'MAXLEN', '~', settings.events_max, '*', 'event', event, ...)
end

-- Raises what a command answered to `pcall`, as it is. Redis before 7 shows no tables: there it is raised as text, with the
-- code behind a dash, as Redis itself does it.
local function raise(problem)
  error(redis.REDIS_VERSION_NUM and problem or '-' .. (problem.err or problem), 0)
end
