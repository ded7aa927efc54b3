-- Where workers take jobs from, and how they learn of them.

-- A prioritized job's score is its priority times this, plus a counter.
local PRIORITY_STEP = 4294967296

-- Wakes one worker that waits on the marker, unless nobody may take a job now.
local function signal(base, settings)
  if active_room(base, settings) ~= 0 then call('ZADD', base .. ':marker', 0, '0') end
end

-- Wakes a worker where a job left `active` and the caller takes no other one in its place: where a queue limits how many
-- are active, jobs may wait whose marker is gone, and all workers sleep.
local function signal_room(base, settings)
  if settings.concurrency and call('EXISTS', base .. ':wait', base .. ':prioritized') > 0 then signal(base, settings) end
end

-- Tells waiting workers until when they may sleep.
local function signal_delayed(base)
  local due = next_delayed(base)
  if due then call('ZADD', base .. ':marker', due, '1') end
end

local function add_delayed(base, settings, id, due)
  local lowest, highest = due * DELAY_SLOTS, (due + 1) * DELAY_SLOTS - 1
  local last = call('ZREVRANGEBYSCORE', base .. ':delayed', highest, lowest, 'WITHSCORES', 'LIMIT', 0, 1)
  local score = lowest
  if last[2] then score = math.min(tonumber(last[2]) + 1, highest) end
  call('ZADD', base .. ':delayed', score, id)
  emit_trimmed(base, settings, 'delayed', 'jobId', id, 'delay', due)
end

local function add_prioritized(base, id, priority)
  local counter = call('INCR', base .. ':pc')
  call('ZADD', base .. ':prioritized', priority * PRIORITY_STEP + counter % PRIORITY_STEP, id)
end

-- Puts a job where workers take it from: `push` is LPUSH (last in line) or RPUSH (first in line).
local function add_ready(base, settings, id, priority, push)
  if priority ~= 0 then
    add_prioritized(base, id, priority)
  else
    call(push, base .. settings.line, id)
  end
end

local PROMOTED_PER_CALL_MAX = 1000

-- Moves delayed jobs whose time has come to where workers take them from.
local function promote_due(base, settings, now)
  local due = call('ZRANGEBYSCORE', base .. ':delayed', 0, (now + 1) * DELAY_SLOTS - 1,
    'WITHSCORES', 'LIMIT', 0, PROMOTED_PER_CALL_MAX)
  if #due == 0 then return end
  local ids = {}
  for i = 1, #due, 2 do ids[#ids + 1] = due[i] end
  call('ZREM', base .. ':delayed', unpack(ids))
  -- Puts a job in line, last of all that can fail.
  local function promote(id, priority)
    call('HSET', base .. ':' .. id, 'delay', 0)
    emit(base, 'waiting', 'jobId', id, 'prev', 'delayed')
    add_ready(base, settings, id, priority, 'LPUSH')
  end
  local problem
  for i, id in ipairs(ids) do
    local priority = redis.pcall('HGET', base .. ':' .. id, 'priority')
    local refused = type(priority) == 'table' and priority.err
    -- An id whose key is no hash is no job: it is not put in line, and stops nobody else's. Another refusal says nothing of
    -- the job.
    if not (refused and string.find(refused, 'WRONGTYPE', 1, true)) then
      local ok, what = false, priority
      if not refused then ok, what = pcall(promote, id, tonumber(priority) or 0) end
      if not ok then
        call('ZADD', base .. ':delayed', due[2 * i], id)
        problem = problem or what
      end
    end
  end
  if problem then raise(problem) end
  signal(base, settings)
end
