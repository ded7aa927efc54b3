-- Settles any number of jobs of one queue and takes the next ones, in one call.
--
-- KEYS[1]  the queue's base key
-- ARGV     1 now (ms), 2 worker name or '', 3 lock duration (ms), 4 how many jobs to take,
--          5 lock token of the jobs taken, 6 limiter max or '', 7 limiter ms or '',
--          8 metrics data points or '', 9 the version to pin new jobs to or '', then groups of entries
--          that have these in common: kind, how many they are, lock token, and by kind:
--            completed           what to keep of completed jobs: '' for all, or `count,age (s),limit`
--            failed, exhausted   what to keep of failed jobs; exhausted: no attempt is left
--            retry               LPUSH or RPUSH
--            delayed             delay (ms)
--            wait                ''
--            waiting-children    child key or ''
--          Each entry of a group is its job's id, attempts made ('' where the attempt is not spent), and the
--          value; all but `completed` have a stacktrace, too.
-- Returns  { codes, jobs, limited for ms or 0, next delayed job's time in ms or 0 } as MessagePack: reading
--          text of Redis's protocol for each field costs a worker more than all else that it does with them
--          codes: one per entry, 0 settled, 1 nothing to wait for (waiting-children), or an error:
--            -1 no such job, -2 no lock, -3 not active, -4 pending children, -6 not our lock,
--            -9 failed children. An entry with an error changed nothing.
--          jobs: id of each, and its hash as it was before: names and values in turn. A job whose hash is
--          gone is left out and dropped.
--
-- What most calls do stands here, and is written for speed: no table per job, no function made that is not
-- called, no length of a table asked for where it is known. The rest is in `lib/outcomes.lua`, which makes its functions when it is first needed.
local base = KEYS[1]
-- As text where it goes to a command: Redis turns Lua's numbers into text at the cost of half a command.
local now_text = ARGV[1]
local now = tonumber(now_text)
local worker, lock_ms, want, token = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local limiter_max, limiter_ms = tonumber(ARGV[6]), tonumber(ARGV[7])
local metrics_points, pin = tonumber(ARGV[8]), ARGV[9]
local FIRST_GROUP, GROUP_HEAD = 10, 4

local prefix = base .. ':'
local active, events = prefix .. 'active', prefix .. 'events'
local settings = read_settings(base)
trim_events(base, settings)

-- Scores and ids in turn of the jobs that go to `completed`, and how many jobs ended in which way.
local completed = {}
local finished = { completed = 0, failed = 0 }

local made_outcomes
local function outcomes()
  made_outcomes = made_outcomes
    or rarely({ base = base, settings = settings, now = now, now_text = now_text, completed = completed, finished = finished })
  return made_outcomes
end

-- Calls `action` with kind, token, option, and the places of the first and the last entry and their distance.
local function each_group(action)
  local at = FIRST_GROUP
  while ARGV[at] do
    local kind, size = ARGV[at], 4
    if kind == 'completed' then size = 3 end
    local first = at + GROUP_HEAD
    at = first + ARGV[at + 1] * size
    action(kind, ARGV[first - 2], ARGV[first - 1], first, at - size, size)
  end
end

-- One per entry.
local keys, locks, codes = {}, {}, {}

-- The tokens of all locks, and whether any of the jobs that completed may have children: rare, so one look.
local function look_at_entries()
  local children, n, last_child = {}, 0, 0
  each_group(function(kind, _, _, first, last, size)
    for at = first, last, size do
      local key = prefix .. ARGV[at]
      n = n + 1
      keys[n], locks[n] = key, key .. ':lock'
      if kind == 'completed' then
        children[last_child + 1], children[last_child + 2] = key .. ':dependencies', key .. ':unsuccessful'
        last_child = last_child + 2
      end
    end
  end)
  local tokens = call('MGET', unpack(locks))
  return tokens, last_child > 0 and call('EXISTS', unpack(children)) > 0
end

-- What is left to do for most jobs that completed. Others have parents, rules on what to keep, and so on.
local function complete(key, id, attempts_made, value)
  call('HSET', key, 'atm', attempts_made, 'returnvalue', value, 'finishedOn', now_text)
  call('XADD', events, '*', 'event', 'completed', 'jobId', id, 'returnvalue', value, 'prev', 'active')
  completed[#completed + 1] = now_text
  completed[#completed + 1] = id
  finished.completed = finished.completed + 1
end

local function settle_entries()
  local tokens, any_children = look_at_entries()
  local settled_locks, settled_ids, n, settled = {}, {}, 0, 0
  each_group(function(kind, group_token, option, first, last, size)
    local completes = kind == 'completed'
    local look_at_children = completes and any_children or kind == 'waiting-children'
    for at = first, last, size do
      n = n + 1
      local id, key = ARGV[at], keys[n]
      local fields = call('HMGET', key, 'name', 'parentKey', 'parent', 'deid')
      local code = 0
      if not fields[1] then
        code = -1
      elseif look_at_children then
        code = outcomes().check_children(kind, key, option)
      end
      if code == 0 and tokens[n] ~= group_token then code = tokens[n] and -6 or -2 end
      -- The last check, since it is also the first write.
      if code == 0 and call('LREM', active, '-1', id) == 0 then code = -3 end
      codes[n] = code
      if code == 0 then
        settled = settled + 1
        settled_locks[settled], settled_ids[settled] = locks[n], id
        if completes and option == '' and not (fields[2] or fields[3] or fields[4]) then
          complete(key, id, ARGV[at + 1], ARGV[at + 2])
        else
          outcomes().settle({ kind = kind, key = key, id = id, option = option, attempts_made = ARGV[at + 1],
            value = ARGV[at + 2], stack = ARGV[at + 3], parent_key = fields[2], parent = fields[3],
            deduplication = fields[4] })
        end
      end
    end
  end)
  if settled > 0 then
    call('DEL', unpack(settled_locks))
    call('SREM', prefix .. 'stalled', unpack(settled_ids))
  end
  if #completed > 0 then call('ZADD', prefix .. 'completed', unpack(completed)) end
  if made_outcomes then made_outcomes.conclude() end
  if metrics_points then outcomes().collect_metrics(metrics_points) end
end

-- The number of jobs that the limiter still lets through, or the time in ms until it does again.
local function limiter_room()
  local max = settings.limiter_max or limiter_max
  if not max then return want, 0 end
  local used = tonumber(call('GET', prefix .. 'limiter')) or 0
  if used >= max then
    local ttl = call('PTTL', prefix .. 'limiter')
    if ttl > 0 then return 0, ttl end
    if ttl == 0 then call('DEL', prefix .. 'limiter') end
    if ttl < 0 then used = 0 end
  end
  return math.max(0, max - used), 0
end

local function count_in_limiter(count)
  if count == 0 or not (settings.limiter_max or limiter_max) then return end
  local duration = math.floor(limiter_ms or settings.limiter_ms or 0)
  if call('INCRBY', prefix .. 'limiter', count) == count and duration > 0 then
    call('PEXPIRE', prefix .. 'limiter', duration)
  end
end

-- Moves up to `room` ids from the head of the line to active and returns them in processing order.
local function move_to_active(room)
  local ids = call('RPOP', prefix .. 'wait', room) or {}
  if #ids < room then
    local popped = call('ZPOPMIN', prefix .. 'prioritized', room - #ids)
    for i = 1, #popped, 2 do ids[#ids + 1] = popped[i] end
    if #popped == 0 then call('DEL', prefix .. 'pc') end
  end
  if #ids > 0 then call('LPUSH', active, unpack(ids)) end
  return ids
end

-- What is noted in the hash of a job that starts. The pin is last: a job that has one keeps it.
local start_note = { 'processedOn', now_text, 'ats', false }
if worker ~= '' then
  start_note[5], start_note[6] = 'pb', worker
end
local unpinned_length = #start_note
if pin ~= '' then
  start_note[unpinned_length + 1], start_note[unpinned_length + 2] = 'torilVersion', pin
end

-- Locks a job and notes its start. Returns its hash as it was, and whether it is to fail without running.
local function start_job(id)
  local key = prefix .. id
  local fields = call('HGETALL', key)
  local named, deferred, started, note_length = false, false, '1', #start_note
  for i = 1, #fields, 2 do
    local name = fields[i]
    if name == 'name' then
      named = true
    elseif name == 'ats' then
      started = string.format('%d', (tonumber(fields[i + 1]) or 0) + 1)
    elseif name == 'defa' then
      deferred = true
    elseif name == 'torilVersion' then
      note_length = unpinned_length
    end
  end
  if not named then
    -- Nor are the markers jobs that BullMQ before 5 kept in this list.
    call('LREM', active, 1, id)
    return nil
  end
  call('SET', key .. ':lock', token, 'PX', lock_ms)
  start_note[4] = started
  call('HSET', key, unpack(start_note, 1, note_length))
  call('XADD', events, '*', 'event', 'active', 'jobId', id, 'prev', 'waiting')
  return fields, deferred
end

-- Starts up to `room` jobs. Returns id and hash of each in turn, and whether there were fewer.
local function start_jobs(room)
  local jobs, last, limited = {}, 0, 0
  local ids = move_to_active(room)
  for i = 1, #ids do
    local fields, deferred = start_job(ids[i])
    if fields then
      jobs[last + 1], jobs[last + 2] = ids[i], fields
      last = last + 2
      if not deferred then limited = limited + 1 end
    end
  end
  count_in_limiter(limited)
  -- More is waiting: let the next idle worker know.
  if last > 0 and #ids == room and call('EXISTS', prefix .. 'wait', prefix .. 'prioritized') > 0 then
    call('ZADD', prefix .. 'marker', 0, '0')
  end
  return jobs, #ids < room
end

local function emit_drained()
  if call('EXISTS', prefix .. 'wait', active, prefix .. 'prioritized') == 0 then emit(base, 'drained') end
end

-- Returns the jobs, the limiter's wait in ms, and the next delayed time where there was nothing else to do.
local function take_jobs()
  if want == 0 then return {}, 0, nil end
  local due = next_delayed(base)
  if due and due < now + 1 then
    outcomes().promote_due()
    due = next_delayed(base)
  end
  local room, limited = limiter_room()
  if limited > 0 then return {}, limited, nil end
  room = math.min(room, want, active_room(base, settings) or want)
  if room == 0 then return {}, 0, nil end
  local jobs, fewer = start_jobs(room)
  if not fewer then due = nil end
  if #jobs == 0 and not due and finished.completed + finished.failed > 0 then emit_drained() end
  return jobs, 0, due
end

if ARGV[FIRST_GROUP] then settle_entries() end
local jobs, limited, due = take_jobs()
if want == 0 and finished.completed + finished.failed > 0 then emit_drained() end
return cmsgpack.pack({ codes, jobs, limited, due and math.floor(due) or 0 })
