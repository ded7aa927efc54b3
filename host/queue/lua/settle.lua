-- Settles any number of jobs of one queue and takes the next ones, in one call.
--
-- KEYS[1]  the queue's base key
-- ARGV     1 now (ms), 2 worker name or '', 3 lock duration (ms), 4 how many jobs to take,
--          5 lock token of the jobs taken, 6 limiter max or '', 7 limiter ms or '',
--          8 metrics data points or '', 9 the version to pin new jobs to or '', 10 how many jobs to settle,
--          11 '1' if all of them were plain (below), then their ids, then, in the same order, groups that have these in common: kind, how many they are,
--          lock token, how many fields their plain hashes had once they had started or '', and by kind:
--            completed           what to keep of completed jobs: '' for all, or `count,age (s),limit`
--            failed, exhausted   what to keep of failed jobs; exhausted: no attempt is left
--            retry               LPUSH or RPUSH
--            delayed             delay (ms)
--            wait                ''
--            waiting-children    child key or ''
--          and for each job attempts made ('' where the attempt is not spent), the value, and, for all kinds
--          but `completed`, the stacktrace.
--          A hash is plain when its job starts for the first time and it has no field of a parent, of
--          deduplication, or of a child that failed. While it has as many fields as it had then, it is plain
--          still: nothing takes fields from a job that is active and has no parent.
-- Returns  { refusals, jobs, limited for ms or 0, next delayed job's time in ms or 0 } as MessagePack: reading
--          text of Redis's protocol for each field costs a worker more than all else that it does with them
--          refusals: which of the jobs was not settled, from 1, and a code in turn. Codes:
--            1 nothing to wait for (waiting-children), -1 no such job, -2 no lock, -3 not active,
--            -4 pending children, -6 not our lock, -9 failed children. Nothing was changed for it.
--          jobs: id of each, and its hash as it was before: names and values in turn, or, an odd number, the
--          values of a new job, with those of its parent if it has one, and ''. A job whose hash is gone is left out and dropped.
--
-- What most calls do stands here, and is written for speed: from top to bottom, since each function, and each
-- name of ours that it uses, costs every call some 0.2 us to make; no table per job; as few commands per job
-- as can be, each of which costs 0.3 us before it does anything. The rest is in `lib/outcomes.lua`, whose
-- functions are made when one is first needed.
local base = KEYS[1]
-- For what is asked of a job's key first: one that is no hash is no job, and stops nobody else's.
local try = redis.pcall
-- As text where it goes to a command: Redis turns Lua's numbers into text at the cost of half a command.
local now_text = ARGV[1]
local now = tonumber(now_text)
local worker, lock_ms, want, token = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local metrics_points, pin = tonumber(ARGV[8]), ARGV[9]
local entries, all_plain = tonumber(ARGV[10]), ARGV[11] == '1'
-- Not answered: the call fails as a whole, with what Redis said.
local REDIS_REFUSED = -99

local prefix = base .. ':'
local active, events = prefix .. 'active', prefix .. 'events'
local settings = read_settings(base)
trim_events(base, settings)

-- Scores and ids in turn of the jobs that go to `completed`, and how many jobs ended in which way.
local completed = {}
local finished = { completed = 0, failed = 0 }

local made_outcomes
local function outcomes()
  made_outcomes = made_outcomes or rarely({
    base = base, settings = settings, now = now, now_text = now_text, completed = completed, finished = finished })
  return made_outcomes
end

-- ## Settling

local refusals, problem = {}, nil
if entries > 0 then
  local ids, keys, locks, children, wanted = {}, {}, {}, {}, {}
  for i = 1, entries do
    local id = ARGV[11 + i]
    local key = prefix .. id
    ids[i], keys[i], locks[i] = id, key, key .. ':lock'
    children[#children + 1] = key .. ':dependencies'
    if not all_plain then children[#children + 1] = key .. ':unsuccessful' end
    wanted[id] = true
  end
  local tokens = call('MGET', unpack(locks))
  -- Rare, so one look for all of them.
  local any_children = call('EXISTS', unpack(children)) > 0
  -- Jobs that end together mostly are near the end of `active`, since those behind them started earlier: the end is
  -- taken off as a whole, and what else was there is put back.
  local seen, found, others = 0, 0, {}
  while entries >= 4 and found < entries and seen < 2 * entries do
    local line = call('LRANGE', active, -seen - entries, -seen - 1)
    local last = #line
    if last == 0 then break end
    while last > 0 and found < entries do
      local id = line[last]
      if wanted[id] then
        wanted[id], found = nil, found + 1
      else
        others[#others + 1] = id
      end
      last, seen = last - 1, seen + 1
    end
  end
  local left_together = found == entries
  if left_together then
    call('LTRIM', active, 0, -seen - 1)
    local back, size = {}, #others
    for i = 1, size do back[i] = others[size + 1 - i] end
    if size > 0 then call('RPUSH', active, unpack(back)) end
  end

  local entry, at = 0, 12 + entries
  while ARGV[at] do
    local kind, group_token, plain_fields, option = ARGV[at], ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4]
    local completes = kind == 'completed'
    local may_have_children = completes and any_children or kind == 'waiting-children'
    local size = completes and 2 or 3
    local first = at + 5
    at = first + ARGV[at + 1] * size
    for place = first, at - size, size do
      entry = entry + 1
      local id, key, code = ids[entry], keys[entry], 0
      local plain, fields, look_at_children = true, nil, may_have_children
      if not plain_fields or try('HLEN', key) ~= plain_fields then
        fields = try('HMGET', key, 'parentKey', 'parent', 'deid', 'name')
        plain = not (fields[1] or fields[2] or fields[3])
        if not fields[4] then code = -1 end
        if all_plain and completes then
          look_at_children = may_have_children or call('EXISTS', key .. ':unsuccessful') == 1
        end
      end
      if code == 0 and look_at_children then code = outcomes().check_children(kind, key, option) end
      if code == 0 and tokens[entry] ~= group_token then code = tokens[entry] and -6 or -2 end
      -- The last check, since it is also the first write.
      if code == 0 and not left_together and call('LREM', active, '-1', id) == 0 then code = -3 end
      if code ~= 0 then
        refusals[#refusals + 1] = entry
        refusals[#refusals + 1] = code
      elseif completes and plain and option == '' then
        local value = ARGV[place + 1]
        call('HSET', key, 'atm', ARGV[place], 'returnvalue', value, 'finishedOn', now_text)
        call('XADD', events, '*', 'event', 'completed', 'jobId', id, 'returnvalue', value, 'prev', 'active')
        completed[#completed + 1] = now_text
        completed[#completed + 1] = id
        finished.completed = finished.completed + 1
      else
        if plain then fields = {} end
        local ok, what = pcall(outcomes().settle, { kind = kind, key = key, id = id, option = option,
          attempts_made = ARGV[place], value = ARGV[place + 1], stack = ARGV[place + 2],
          parent_key = fields[1], parent = fields[2], deduplication = fields[3] })
        if not ok then
          -- Its parent's keys are not what they should be, say. The others are settled first.
          problem = problem or what
          refusals[#refusals + 1] = entry
          refusals[#refusals + 1] = REDIS_REFUSED
        end
      end
    end
  end

  -- From the last one, so that all keep their order.
  for i = #refusals - 1, 1, -2 do
    local id = table.remove(ids, refusals[i])
    table.remove(locks, refusals[i])
    if left_together or refusals[i + 1] == REDIS_REFUSED then call('RPUSH', active, id) end
  end
  if #ids > 0 then
    call('DEL', unpack(locks))
    call('SREM', prefix .. 'stalled', unpack(ids))
  end
  if #completed > 0 then call('ZADD', prefix .. 'completed', unpack(completed)) end
  if made_outcomes then made_outcomes.conclude() end
  if metrics_points then outcomes().collect_metrics(metrics_points) end
  if problem then error(problem) end
end

-- ## How many to take, or when next

local due, limited, room = nil, 0, 0
local limiter = prefix .. 'limiter'
local limiter_max = settings.limiter_max or tonumber(ARGV[6])
if want > 0 then
  due = next_delayed(base)
  if due and due < now + 1 then
    outcomes().promote_due()
    due = next_delayed(base)
  end
  room = math.min(want, active_room(base, settings) or want)
  if limiter_max then
    local used = tonumber(call('GET', limiter)) or 0
    if used >= limiter_max then
      local ttl = call('PTTL', limiter)
      if ttl > 0 then
        limited = ttl
      else
        -- In its last millisecond, gone, or without an end: it limits no more.
        if ttl == 0 then call('DEL', limiter) end
        used = 0
      end
    end
    room = math.min(room, math.max(0, limiter_max - used))
  end
end

-- ## Taking them

local jobs, last = {}, 0
if room > 0 then
  local ids = call('RPOP', prefix .. 'wait', room == want and ARGV[4] or room) or {}
  local found = #ids
  if found < room then
    local popped = call('ZPOPMIN', prefix .. 'prioritized', room - found)
    for i = 1, #popped, 2 do ids[#ids + 1] = popped[i] end
    if #popped == 0 then call('DEL', prefix .. 'pc') end
    found = #ids
  end
  if found > 0 then call('LPUSH', active, unpack(ids)) end

  -- What is noted in the hash of a job that starts. The pin is last: a job that has one keeps it.
  local start_note = { 'processedOn', now_text, 'ats', false }
  if worker ~= '' then
    start_note[5], start_note[6] = 'pb', worker
  end
  local unpinned_length = #start_note
  if pin ~= '' then
    start_note[unpinned_length + 1], start_note[unpinned_length + 2] = 'torilVersion', pin
  end
  local pinned_length = #start_note

  local will_run = 0
  for i = 1, found do
    local id = ids[i]
    local key = prefix .. id
    local hash, named, deferred, started, note_length = nil, false, false, '1', pinned_length
    -- A new job has these fields and no others, the last two if it is somebody's child: no need to read their names.
    local size = try('HLEN', key)
    if size == 6 then
      hash = call('HMGET', key, 'name', 'data', 'opts', 'timestamp', 'delay', 'priority')
      named = hash[1] and hash[2] and hash[3] and hash[4] and hash[5] and hash[6]
      hash[7] = ''
    elseif size == 8 then
      hash = call('HMGET', key, 'name', 'data', 'opts', 'timestamp', 'delay', 'priority', 'parentKey', 'parent')
      named = hash[1] and hash[2] and hash[3] and hash[4] and hash[5] and hash[6] and hash[7] and hash[8]
      hash[9] = ''
    end
    if not named then
      hash = try('HGETALL', key)
      for k = 1, #hash, 2 do
        local name = hash[k]
        if name == 'name' then
          named = true
        elseif name == 'ats' then
          started = string.format('%d', (tonumber(hash[k + 1]) or 0) + 1)
        elseif name == 'defa' then
          deferred = true
        elseif name == 'torilVersion' then
          note_length = unpinned_length
        end
      end
    end
    if named then
      call('PSETEX', key .. ':lock', lock_ms, token)
      if note_length == 4 then
        call('HSET', key, 'processedOn', now_text, 'ats', started)
      else
        start_note[4] = started
        call('HSET', key, unpack(start_note, 1, note_length))
      end
      call('XADD', events, '*', 'event', 'active', 'jobId', id, 'prev', 'waiting')
      jobs[last + 1], jobs[last + 2] = id, hash
      last = last + 2
      -- A job that fails without being run does not count.
      if not deferred then will_run = will_run + 1 end
    else
      -- Nor are the markers jobs that BullMQ before 5 kept in this list.
      call('LREM', active, 1, id)
    end
  end

  if limiter_max and will_run > 0 then
    local duration = math.floor(tonumber(ARGV[7]) or settings.limiter_ms or 0)
    if call('INCRBY', limiter, will_run) == will_run and duration > 0 then call('PEXPIRE', limiter, duration) end
  end
  -- More is waiting: let the next idle worker know.
  if last > 0 and found == room and call('EXISTS', prefix .. 'wait', prefix .. 'prioritized') > 0 then
    call('ZADD', prefix .. 'marker', '0', '0')
  end
  if found == room then due = nil end
else
  due = nil
end

-- ## Whether that was all

local looked_for_jobs = room > 0 or want == 0
if looked_for_jobs and last == 0 and not due and finished.completed + finished.failed > 0
  and call('EXISTS', prefix .. 'wait', active, prefix .. 'prioritized') == 0 then
  emit(base, 'drained')
end
return cmsgpack.pack({ refusals, jobs, limited, due and math.floor(due) or 0 })
