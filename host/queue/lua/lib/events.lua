-- Events of calls that add jobs.

-- Emits where jobs are added, which is what makes the stream grow: it is kept to its length here.
local function emit_trimmed(base, settings, event, ...)
  if not settings.events_max then
    -- The one entry of `meta` that a BullMQ queue must have.
    settings.events_max = EVENTS_MAX_DEFAULT
    call('HSET', base .. ':meta', 'opts.maxLenEvents', EVENTS_MAX_DEFAULT)
  end
  call('XADD', base .. ':events', 'MAXLEN', '~', settings.events_max, '*', 'event', event, ...)
end
