-- What every script knows of a queue. `base` is its key prefix without the last colon
-- (`bull:paint`); every other key of the queue is `base:NAME` or `base:JOBID`.
local call = redis.call

-- A delayed job's score is its due time in ms times this, plus a sequence number, so that jobs
-- due in the same millisecond leave in the order in which they came.
local DELAY_SLOTS = 4096
local EVENTS_MAX_DEFAULT = '10000'

-- Reads `meta` once and fills in the one entry that a BullMQ queue must have.
local function read_settings(base)
  local meta = call('HMGET', base .. ':meta', 'paused', 'concurrency', 'max', 'duration', 'opts.maxLenEvents')
  if not meta[5] then
    meta[5] = EVENTS_MAX_DEFAULT
    call('HSET', base .. ':meta', 'opts.maxLenEvents', meta[5])
  end
  return {
    paused = meta[1] ~= false,
    concurrency = tonumber(meta[2]),
    limiter_max = tonumber(meta[3]),
    limiter_ms = tonumber(meta[4]),
    events_max = meta[5],
  }
end

-- Called once per script and queue, before the first `emit`: nothing emitted by this call is lost.
local function trim_events(base, settings)
  call('XTRIM', base .. ':events', 'MAXLEN', '~', settings.events_max)
end

local function emit(base, event, ...)
  call('XADD', base .. ':events', '*', 'event', event, ...)
end

-- How many more jobs the queue's global settings let become active; nil means any number.
local function active_room(base, settings)
  if settings.paused then return 0 end
  if not settings.concurrency then return nil end
  return math.max(0, settings.concurrency - call('LLEN', base .. ':active'))
end

-- The time in ms at which the first delayed job is due, or nil. Not rounded: see DELAY_SLOTS.
local function next_delayed(base)
  local first = call('ZRANGE', base .. ':delayed', '0', '0', 'WITHSCORES')
  return first[2] and tonumber(first[2]) / DELAY_SLOTS
end

-- Redis hands at most about 8,000 values to one command through `unpack`.
local UNPACK_MAX = 7000
local function in_chunks(values, action)
  for from = 1, #values, UNPACK_MAX do
    action(unpack(values, from, math.min(from + UNPACK_MAX - 1, #values)))
  end
end
