-- What every script knows of a queue. `base` is its key prefix without the last colon
-- (`bull:paint`); every other key of the queue is `base:NAME` or `base:JOBID`.
local call = redis.call

-- A delayed job's score is its due time in ms times this, plus a sequence number, so that jobs
-- due in the same millisecond leave in the order in which they came.
local DELAY_SLOTS = 4096
-- A prioritized job's score is its priority times this, plus a counter.
local PRIORITY_STEP = 4294967296
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

-- Wakes one worker that waits on the marker, unless nobody may take a job now.
local function signal(base, settings)
  if active_room(base, settings) ~= 0 then call('ZADD', base .. ':marker', 0, '0') end
end

-- The time in ms at which the first delayed job is due, or nil. Not rounded: see DELAY_SLOTS.
local function next_delayed(base)
  local first = call('ZRANGE', base .. ':delayed', 0, 0, 'WITHSCORES')
  return first[2] and tonumber(first[2]) / DELAY_SLOTS
end

-- Tells waiting workers until when they may sleep.
local function signal_delayed(base)
  local due = next_delayed(base)
  if due then call('ZADD', base .. ':marker', due, '1') end
end

local function add_delayed(base, id, due)
  local lowest, highest = due * DELAY_SLOTS, (due + 1) * DELAY_SLOTS - 1
  local last = call('ZREVRANGEBYSCORE', base .. ':delayed', highest, lowest, 'WITHSCORES', 'LIMIT', 0, 1)
  local score = lowest
  if last[2] then score = math.min(tonumber(last[2]) + 1, highest) end
  call('ZADD', base .. ':delayed', score, id)
  emit(base, 'delayed', 'jobId', id, 'delay', due)
end

local function add_prioritized(base, id, priority)
  local counter = call('INCR', base .. ':pc')
  call('ZADD', base .. ':prioritized', priority * PRIORITY_STEP + counter % PRIORITY_STEP, id)
end

-- Puts a job where workers take it from: `push` is LPUSH (last in line) or RPUSH (first in line).
local function add_ready(base, id, priority, push)
  if priority > 0 then
    add_prioritized(base, id, priority)
  else
    call(push, base .. ':wait', id)
  end
end

local PROMOTED_PER_CALL_MAX = 1000

-- Moves delayed jobs whose time has come to where workers take them from.
local function promote_due(base, settings, now)
  local due = call('ZRANGEBYSCORE', base .. ':delayed', 0, (now + 1) * DELAY_SLOTS - 1,
    'LIMIT', 0, PROMOTED_PER_CALL_MAX)
  if #due == 0 then return end
  call('ZREM', base .. ':delayed', unpack(due))
  for _, id in ipairs(due) do
    local key = base .. ':' .. id
    add_ready(base, id, tonumber(call('HGET', key, 'priority')) or 0, 'LPUSH')
    emit(base, 'waiting', 'jobId', id, 'prev', 'delayed')
    call('HSET', key, 'delay', 0)
  end
  signal(base, settings)
end

-- Redis hands at most about 8,000 values to one command through `unpack`.
local UNPACK_MAX = 7000
local function in_chunks(values, action)
  for from = 1, #values, UNPACK_MAX do
    action(unpack(values, from, math.min(from + UNPACK_MAX - 1, #values)))
  end
end
