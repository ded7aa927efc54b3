-- What every script knows of a queue. Each function here costs a call of `settle.lua` some 0.2 us.
-- `base` is a queue's key prefix without the last colon (`bull:paint`); every other key of the queue is
-- `base:NAME` or `base:JOBID`.
--
-- KEYS[1] is `base:meta`, a key that BullMQ names, too: a Redis user limited to `~bull:paint:*` may use it.
local call = redis.call
local QUEUE = string.sub(KEYS[1], 1, -6)

-- A delayed job's score is its due time in ms times this, plus a sequence number, so that jobs
-- due in the same millisecond leave in the order in which they came.
local DELAY_SLOTS = 4096
local EVENTS_MAX_DEFAULT = '10000'
-- The largest whole number that Lua, JavaScript and Rust write alike.
local SAFE_INTEGER_MAX = 9007199254740991

-- Reads `meta` once. `line` is the end of the key of the list where jobs wait: `wait`, but `paused` while a producer of
-- BullMQ 5 has paused the queue, since its resume renames `paused` to `wait` and loses what is in `wait`. A producer that
-- does not say that it is of BullMQ 6 is taken for an older one: the resume of 6 looks into `paused`, too.
local function read_settings(base)
  local meta = call('HMGET', base .. ':meta', 'paused', 'concurrency', 'max', 'duration', 'opts.maxLenEvents')
  local line = ':wait'
  if meta[1] then
    local major = string.match(call('HGET', base .. ':meta', 'version') or '', '^bullmq:(%d+)')
    if not major or tonumber(major) < 6 then line = ':paused' end
  end
  return {
    paused = meta[1] ~= false,
    line = line,
    concurrency = tonumber(meta[2]),
    limiter_max = meta[3],
    limiter_ms = tonumber(meta[4]),
    events_max = meta[5],
  }
end

-- Called before the first `emit`, so that nothing emitted by this call is lost. Redis allows it when its
-- memory is full, and all writes of a script after the first one: so a script that must pass then starts with it.
local function trim_events(base, settings)
  call('XTRIM', base .. ':events', 'MAXLEN', '~', settings.events_max or EVENTS_MAX_DEFAULT)
end

local function emit(base, event, ...)
  call('XADD', base .. ':events', '*', 'event', event, ...)
end

-- How many more jobs the queue's global settings let become active; nil means any number.
local function active_room(base, settings)
  if settings.paused then return 0 end
  if not settings.concurrency then return nil end
  return math.max(0, math.ceil(settings.concurrency) - call('LLEN', base .. ':active'))
end

-- The time in ms at which the first delayed job is due, or nil. Not rounded: see DELAY_SLOTS.
local function next_delayed(base)
  local first = call('ZRANGE', base .. ':delayed', '0', '0', 'WITHSCORES')
  return first[2] and tonumber(first[2]) / DELAY_SLOTS
end
