-- Settles jobs of one queue and takes the next ones, in one call.
--
-- Terms
--   settle       write what became of a job that is in `active`, and move it from there
--   kind         where the job goes: `completed`, `failed`, `exhausted` (failed, and no attempt is left), `retry`
--                (back in line), `delayed`, `wait` (back in line, first, no attempt spent), `give-back`
--                (the same, or later, and no start spent), `waiting-children`
--   plain        said of a job's hash when the job starts for the first time and the hash has no field of a parent,
--                of deduplication or of a child that failed. It stays plain while it has as many fields as it had
--                then, because nothing takes fields from an active job that has no parent
--   group        neighbours among the jobs to settle that have kind, lock token, number of plain fields and option
--                in common; these are sent once per group, as each value costs 0.2 us
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV
--    1  now (ms)                             7  limiter's duration (ms), or ''
--    2  worker name, or ''                   8  data points of metrics to keep, or ''
--    3  lock duration (ms)                   9  version of the processor to pin new jobs to, or ''
--    4  how many jobs to take               10  bytes after which no further job is taken
--    5  lock token of the jobs taken        11  how many jobs to settle
--    6  limiter's maximum, or ''            12  '1' if the hashes of all jobs to settle were plain
--   13  and on: the ids of the jobs to settle; behind them the groups, whose jobs are in the order of the ids:
--       kind, number of jobs, lock token, number of plain fields or '', option; then per job:
--       attempts made ('' where no attempt is spent), value, and, except for `completed`, stacktrace
--
--   kind               option                                            value
--   completed          completed jobs to keep: '' all, or count,age (s),limit   return value (JSON)
--   failed, exhausted  failed jobs to keep, in the same form             reason
--   retry              LPUSH or RPUSH                                    reason
--   delayed            delay (ms)                                        reason, or ''
--   wait               ''                                                ''
--   give-back          delay (ms), or ''                                 ''
--   waiting-children   key of the child to wait for, or ''               ''
--
-- Returns MessagePack, since reading Redis's own protocol field by field costs a worker more than all else that
-- it does with a reply: { refusals, jobs, limited, due, more, jobless, jobless ids }
--   refusals  which of the jobs was not settled (1 is the first), and a code, in turn; nothing was changed for it.
--             1 nothing to wait for (waiting-children), -1 no such job, -2 no lock, -3 not active,
--             -4 pending children, -6 another lock, -9 failed children
--   jobs      id and hash of each job taken, in turn; the hash is as it was before the job started: names and values
--             in turn, or, an odd number, the values of a new job's fields, with those of its parent if it has one,
--             and ''. An id without a hash is dropped
--   limited   for how long the queue is rate limited (ms), or 0
--   due       when the next delayed job is due (ms since the epoch), or 0 where the worker will look again before that: it
--             got all that it asked for, or the queue is paused or limited
--   more      1 if no further job was taken because of their size, or because Redis refused to read the next one, or 0
--   jobless   how many ids had no job, a hash with a name: they are dropped; and the first of these ids, cut
--
-- What most calls do stands here, and is written for speed: from top to bottom, since each function, and each
-- name of ours that it uses, costs every call some 0.2 us to make; no table per job; as few commands per job
-- as can be, each of which costs 0.3 us before it does anything. The rest is in `lib/outcomes.lua`, whose
-- functions are made when one is first needed.
local base = QUEUE
-- For what is asked of a job's key first: one that is no hash is no job, and stops nobody else's.
local try = redis.pcall
-- As text where it goes to a command: Redis turns Lua's numbers into text at the cost of half a command.
local now_text = ARGV[1]
local now = tonumber(now_text)
local worker, lock_ms, want, token = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local metrics_points, pin, bytes_max = tonumber(ARGV[8]), ARGV[9], tonumber(ARGV[10])
local entries, all_plain = tonumber(ARGV[11]), ARGV[12] == '1'
-- Not answered: the call fails as a whole, with what Redis said.
local REDIS_REFUSED = -99
-- Bounds the time of a call that finds nothing but ids without hashes.
local ROUNDS_MAX = 1000
-- Of the ids without a job so many are told, each cut to so many bytes.
local JOBLESS_IDS_MAX = 10
local JOBLESS_ID_BYTES_MAX = 200

local prefix = base .. ':'
local active, events = prefix .. 'active', prefix .. 'events'
local settings = read_settings(base)
-- First of all writes when something is settled, so that it is settled where Redis has no memory left.
if entries > 0 then trim_events(base, settings) end

-- Scores and ids in turn of the jobs that go to `completed`, and how many jobs ended in which way.
local completed = {}
local finished = { completed = 0, failed = 0 }

-- Rare, so there is one look for all jobs.
local any_children = false

local made_outcomes
local function outcomes()
  made_outcomes = made_outcomes or rarely({ base = base, settings = settings, now = now, now_text = now_text,
    completed = completed, finished = finished, any_children = any_children })
  return made_outcomes
end

-- ## Settling

local refusals, problem, completed_refused = {}, nil, false
if entries > 0 then
  local ids, keys, locks, children, wanted = {}, {}, {}, {}, {}
  for i = 1, entries do
    local id = ARGV[12 + i]
    local key = prefix .. id
    ids[i], keys[i], locks[i] = id, key, key .. ':lock'
    children[#children + 1] = key .. ':dependencies'
    if not all_plain then children[#children + 1] = key .. ':unsuccessful' end
    wanted[id] = true
  end
  local tokens = call('MGET', unpack(locks))
  any_children = call('EXISTS', unpack(children)) > 0
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

  local entry, at = 0, 13 + entries
  while ARGV[at] do
    local kind, group_token, plain_fields, option = ARGV[at], ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4]
    local completes = kind == 'completed'
    local may_have_children = completes and any_children or kind == 'waiting-children'
    local size = completes and 2 or 3
    local first = at + 5
    at = first + ARGV[at + 1] * size
    if made_outcomes then made_outcomes.use_rule(kind, option) end
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
        -- What Redis refuses is a table without entries. Its user may lack a command: the job left `active`, and must not
        -- be lost.
        local told = try('HSET', key, 'atm', ARGV[place], 'returnvalue', value, 'finishedOn', now_text)
        if told == 3 or type(told) == 'number' then
          told = try('XADD', events, '*', 'event', 'completed', 'jobId', id, 'returnvalue', value, 'prev', 'active')
        end
        if #told > 0 then
          completed[#completed + 1] = now_text
          completed[#completed + 1] = id
          finished.completed = finished.completed + 1
        else
          problem = problem or told
          refusals[#refusals + 1] = entry
          refusals[#refusals + 1] = REDIS_REFUSED
        end
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
  -- A set that is no set takes no job: those that were to go there stay active, and locked for now.
  if made_outcomes then
    local beside = made_outcomes.conclude()
    problem = problem or beside
  elseif #completed > 0 then
    local added = try('ZADD', prefix .. 'completed', unpack(completed))
    if type(added) == 'table' then
      completed_refused = true
      outcomes().stay_active(completed)
    end
  end
  if #ids > 0 then
    if made_outcomes then ids, locks = made_outcomes.without_those_that_stay(ids, locks) end
    if #ids > 0 then
      call('DEL', unpack(locks))
      -- Where that is no set, the next check for stalled jobs replaces it.
      try('SREM', prefix .. 'stalled', unpack(ids))
    end
  end
  if metrics_points then outcomes().collect_metrics(metrics_points) end
  -- Once more, for what Redis says of it.
  if completed_refused then call('ZADD', prefix .. 'completed', unpack(completed)) end
  if problem then outcomes().raise(problem) end
end

-- ## How many to take, or when next

local due, limited, room = nil, 0, 0
local limiter = prefix .. 'limiter'
local limiter_max = tonumber(settings.limiter_max or ARGV[6])
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
    -- As in BullMQ, a window that does not limit yet has room for one, whatever `max` is.
    room = math.min(room, math.max(limited == 0 and 1 or 0, math.ceil(limiter_max - used)))
  end
elseif settings.concurrency then
  outcomes().signal_room()
end

-- ## Taking them

local jobs, last, more = {}, 0, 0
-- Ids that have no job: how many, and the first ones.
local jobless, jobless_ids = 0, {}
if room > 0 then
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

  local will_run, bytes, missing, rounds = 0, 0, room, 0
  repeat
    local ids = call('RPOP', prefix .. 'wait', missing == want and ARGV[4] or missing) or {}
    local waiting, prioritized = #ids, nil
    local found = waiting
    if found < missing then
      prioritized = try('ZPOPMIN', prefix .. 'prioritized', missing - found)
      if prioritized.err then outcomes().fail_taking(ids, waiting, {}, prioritized) end
      for i = 1, #prioritized, 2 do ids[#ids + 1] = prioritized[i] end
      if #prioritized == 0 then call('DEL', prefix .. 'pc') end
      found = #ids
    end
    if found > 0 then
      local length = try('LPUSH', active, unpack(ids))
      if type(length) == 'table' then outcomes().fail_taking(ids, waiting, prioritized, length) end
    end

    local dropped = 0
    for i = 1, found do
      local id = ids[i]
      local key = prefix .. id
      local hash, named, deferred, started, note_length = nil, false, false, '1', pinned_length
      -- A new job has these fields and no others, the last two if it is somebody's child: no need to read their names.
      local size = try('HLEN', key)
      if size == 6 then
        hash = call('HMGET', key, 'name', 'data', 'opts', 'timestamp', 'delay', 'priority')
        named = hash[1] and hash[2] and hash[3] and hash[4] and hash[5] and hash[6]
        if named then bytes = bytes + #hash[2] + #hash[3] end
        hash[7] = ''
      elseif size == 8 then
        hash = call('HMGET', key, 'name', 'data', 'opts', 'timestamp', 'delay', 'priority', 'parentKey', 'parent')
        named = hash[1] and hash[2] and hash[3] and hash[4] and hash[5] and hash[6] and hash[7] and hash[8]
        if named then bytes = bytes + #hash[2] + #hash[3] end
        hash[9] = ''
      end
      if not named then
        hash = try('HGETALL', key)
        if hash.err and not string.find(hash.err, 'WRONGTYPE', 1, true) then
          outcomes().leave_in_line(ids, waiting, prioritized, i, last == 0 and hash)
          more = 1
          break
        end
        for k = 1, #hash, 2 do
          local name = hash[k]
          bytes = bytes + #hash[k + 1]
          if name == 'name' then
            named = true
          elseif name == 'ats' then
            started = string.format('%d', math.min(tonumber(hash[k + 1]) or 0, SAFE_INTEGER_MAX) + 1)
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
        call('LREM', active, -1, id)
        -- Nor are the markers jobs that BullMQ before 5 kept in this list; these are no loss.
        if string.sub(id, 1, 2) ~= '0:' then
          jobless = jobless + 1
          if jobless <= JOBLESS_IDS_MAX then jobless_ids[jobless] = string.sub(id, 1, JOBLESS_ID_BYTES_MAX) end
        end
        dropped = dropped + 1
      end
      if bytes > bytes_max and last > 0 and (i < found or found == missing) then
        more = 1
        if i < found then outcomes().put_back(ids, waiting, prioritized, i + 1) end
        break
      end
    end
    -- As many others are taken for ids without a hash, if there may be others.
    local exhausted = found < missing
    missing, rounds = dropped, rounds + 1
    if missing > 0 and rounds == ROUNDS_MAX then more = 1 end
  until missing == 0 or exhausted or more == 1

  if limiter_max and will_run > 0 then
    local duration = math.min(math.floor(math.abs(tonumber(ARGV[7]) or settings.limiter_ms or 0)), SAFE_INTEGER_MAX)
    if call('INCRBY', limiter, will_run) == will_run and duration > 0 then call('PEXPIRE', limiter, duration) end
  end
  local full = last == 2 * room or more == 1
  -- More is waiting: let the next idle worker know.
  if full and call('EXISTS', prefix .. 'wait', prefix .. 'prioritized') > 0 then
    call('ZADD', prefix .. 'marker', '0', '0')
  end
  -- A worker that has as many as it asked for asks again before it sleeps. One that found less room has to know.
  if last == 2 * want or more == 1 then due = nil end
elseif settings.paused or limited > 0 then
  due = nil
end

-- ## Whether that was all

local looked_for_jobs = room > 0 or want == 0
if looked_for_jobs and last == 0 and more == 0 and not due and finished.completed + finished.failed > 0
  and call('EXISTS', prefix .. 'wait', prefix .. 'paused', active, prefix .. 'prioritized') == 0 then
  emit(base, 'drained')
end
local due_ms = due and math.min(math.floor(due), SAFE_INTEGER_MAX) or 0
return cmsgpack.pack({ refusals, jobs, limited, due_ms, more, jobless, jobless_ids })
