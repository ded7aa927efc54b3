-- Settles any number of jobs of one queue and takes the next ones, in one call.
--
-- KEYS[1]  the queue's base key
-- ARGV     1 now (ms), 2 worker name or '', 3 lock duration (ms), 4 how many jobs to take,
--          5 lock token of the jobs taken, 6 limiter max or '', 7 limiter ms or '',
--          8 metrics data points or '', 9 the version to pin new jobs to or '', then ENTRY_SIZE values per
--          entry: kind, job id, lock token, value, attempts made, and two more by kind:
--            completed           what to keep of completed jobs: '' for all, or `count,age (s),limit`
--            failed, exhausted   what to keep of failed jobs, stacktrace; exhausted: no attempt is left
--            retry               LPUSH or RPUSH, stacktrace
--            delayed             delay (ms), stacktrace
--            wait
--            waiting-children    child key or ''
--          `attempts made` is '' where the attempt is not spent.
-- Returns  { codes, jobs, limited for ms or 0, next delayed job's time in ms or 0 }
--          codes: one per entry, 0 settled, 1 nothing to wait for (waiting-children), or an error:
--            -1 no such job, -2 no lock, -3 not active, -4 pending children, -6 not our lock,
--            -9 failed children. An entry with an error changed nothing.
--          jobs: id and hash of each in turn, the hash as names and values, where a later value
--          replaces an earlier one; a job whose hash is gone is left out and dropped.
local base = KEYS[1]
-- As text where it goes to a command: Redis turns Lua's numbers into text at the cost of half a command.
local now_text = ARGV[1]
local now = tonumber(now_text)
local worker, lock_ms, want, token = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local limiter_max, limiter_ms = tonumber(ARGV[6]), tonumber(ARGV[7])
local metrics_points = tonumber(ARGV[8])
local pin = ARGV[9]
local FIRST_ENTRY, ENTRY_SIZE = 10, 7

local active = base .. ':active'
local settings = read_settings(base)
trim_events(base, settings)

local entries, codes = {}, {}
local finished = { completed = 0, failed = 0 }
local wrote_delayed, wrote_retry = false, false

local function read_entries()
  for at = FIRST_ENTRY, #ARGV, ENTRY_SIZE do
    local id = ARGV[at + 1]
    entries[#entries + 1] = {
      kind = ARGV[at], id = id, token = ARGV[at + 2], value = ARGV[at + 3], attempts_made = ARGV[at + 4],
      option = ARGV[at + 5], stack = ARGV[at + 6], key = base .. ':' .. id,
      -- Room for what is read later: a table that grows costs as much as a command.
      parent_key = false, parent = false, deduplication = false,
    }
  end
end

-- True when at least one of the jobs that completed may still have children: rare, so one look at all.
local function any_children()
  local keys = {}
  for _, entry in ipairs(entries) do
    if entry.kind == 'completed' then
      keys[#keys + 1] = entry.key .. ':dependencies'
      keys[#keys + 1] = entry.key .. ':unsuccessful'
    end
  end
  local found = 0
  in_chunks(keys, function(...) found = found + call('EXISTS', ...) end)
  return found > 0
end

local function check_children(entry)
  if entry.kind == 'completed' then
    if call('EXISTS', entry.key .. ':dependencies') == 1 then return -4 end
    if call('EXISTS', entry.key .. ':unsuccessful') == 1 then return -9 end
  elseif entry.kind == 'waiting-children' then
    if call('EXISTS', entry.key .. ':unsuccessful') == 1 then return -9 end
    local dependencies = entry.key .. ':dependencies'
    if entry.option ~= '' then
      if call('SISMEMBER', dependencies, entry.option) == 0 then return 1 end
    elseif call('EXISTS', dependencies) == 0 then
      return 1
    end
  end
  return 0
end

-- Gives each entry its code. Leaving `active` is the last check, since it is also the first write.
local function check_entries()
  local locks = {}
  for i, entry in ipairs(entries) do locks[i] = entry.key .. ':lock' end
  local tokens = call('MGET', unpack(locks))
  local look_at_children = any_children()
  for i, entry in ipairs(entries) do
    local fields = call('HMGET', entry.key, 'name', 'parentKey', 'parent', 'deid')
    entry.parent_key, entry.parent, entry.deduplication = fields[2], fields[3], fields[4]
    local code = 0
    if not fields[1] then
      code = -1
    elseif look_at_children or entry.kind == 'waiting-children' then
      code = check_children(entry)
    end
    if code == 0 and tokens[i] ~= entry.token then code = tokens[i] and -6 or -2 end
    if code == 0 and call('LREM', active, '-1', entry.id) == 0 then code = -3 end
    codes[i] = code
  end
end

local function unlock_settled()
  local locks, ids = {}, {}
  for i, entry in ipairs(entries) do
    if codes[i] == 0 then
      locks[#locks + 1] = entry.key .. ':lock'
      ids[#ids + 1] = entry.id
    end
  end
  if #ids == 0 then return end
  call('DEL', unpack(locks))
  call('SREM', base .. ':stalled', unpack(ids))
end

-- The rules for `completed` and `failed` that differ, each applied once.
local retention = { completed = {}, failed = {} }
-- Score and id of each job that goes to `completed` or `failed`: one command for all.
local ended = { completed = {}, failed = {} }

local function finish(entry)
  local completed = entry.kind == 'completed'
  local value_field = completed and 'returnvalue' or 'failedReason'
  if entry.deduplication then finish_deduplication(base, settings, entry.deduplication, entry.id, now) end
  local parent_base, parent_id, policy = parent_of(entry.parent_key, entry.parent)
  if parent_base then
    if completed then
      child_completed(parent_base, parent_id, entry.key, entry.value, now)
    else
      child_failed(parent_base, parent_id, policy, entry.key, entry.value, now)
    end
  end
  if string.sub(entry.option, 1, 2) == '0,' then
    remove_job_keys(entry.key)
    drop_dependency(entry.key, entry.parent_key, entry.parent)
  else
    if completed then
      call('HSET', entry.key, 'atm', entry.attempts_made, 'returnvalue', entry.value, 'finishedOn', now_text)
    else
      call('HSET', entry.key, 'atm', entry.attempts_made, 'failedReason', entry.value, 'finishedOn', now_text,
        'stacktrace', entry.stack)
      call('HDEL', entry.key, 'defa')
    end
    local list = ended[entry.kind]
    list[#list + 1] = now_text
    list[#list + 1] = entry.id
    if entry.option ~= '' then retention[entry.kind][entry.option] = true end
  end
  emit(base, entry.kind, 'jobId', entry.id, value_field, entry.value, 'prev', 'active')
  finished[entry.kind] = finished[entry.kind] + 1
end

-- What a failed attempt leaves in the hash of a job that will run again.
local function note_attempt(entry)
  if entry.attempts_made ~= '' then
    call('HSET', entry.key, 'atm', entry.attempts_made, 'failedReason', entry.value, 'stacktrace', entry.stack)
  end
end

local function priority_of(entry)
  return tonumber(call('HGET', entry.key, 'priority')) or 0
end

local settle = { completed = finish, failed = finish }

function settle.exhausted(entry)
  entry.kind = 'failed'
  finish(entry)
  emit(base, 'retries-exhausted', 'jobId', entry.id, 'attemptsMade', entry.attempts_made)
end

function settle.retry(entry)
  note_attempt(entry)
  add_ready(base, entry.id, priority_of(entry), entry.option)
  signal(base, settings)
  emit(base, 'waiting', 'jobId', entry.id, 'prev', 'active')
end

function settle.delayed(entry)
  note_attempt(entry)
  call('HSET', entry.key, 'delay', entry.option)
  add_delayed(base, entry.id, now + tonumber(entry.option))
  wrote_delayed = true
end

-- Gives the job back untouched, first in line.
function settle.wait(entry)
  local priority = priority_of(entry)
  if priority > 0 then
    call('ZADD', base .. ':prioritized', priority * PRIORITY_STEP, entry.id)
  else
    call('RPUSH', base .. ':wait', entry.id)
    signal(base, settings)
  end
  emit(base, 'waiting', 'jobId', entry.id, 'prev', 'active')
end

settle['waiting-children'] = function(entry)
  call('ZADD', base .. ':waiting-children', now_text, entry.id)
  emit(base, 'waiting-children', 'jobId', entry.id, 'prev', 'active')
end

-- Jobs finished per minute, newest first, as BullMQ's `getMetrics` reads them.
local function collect_metrics(target, count)
  local key = base .. ':metrics:' .. target
  local before = call('HINCRBY', key, 'count', count) - count
  local last = call('HMGET', key, 'prevTS', 'prevCount')
  if not last[1] then
    call('HSET', key, 'prevTS', now, 'prevCount', 0)
    return
  end
  local minutes = math.min(math.floor(now / 60000) - math.floor(tonumber(last[1]) / 60000), metrics_points)
  if minutes <= 0 then return end
  local points = { before - tonumber(last[2]) }
  for i = 2, minutes do points[i] = 0 end
  in_chunks(points, function(...) call('LPUSH', key .. ':data', ...) end)
  call('LTRIM', key .. ':data', 0, metrics_points - 1)
  call('HSET', key, 'prevCount', before, 'prevTS', now)
end

-- The number of jobs that the limiter still lets through, or the time in ms until it does again.
local function limiter_room()
  local max = settings.limiter_max or limiter_max
  if not max then return want, 0 end
  local used = tonumber(call('GET', base .. ':limiter')) or 0
  if used >= max then
    local ttl = call('PTTL', base .. ':limiter')
    if ttl > 0 then return 0, ttl end
    if ttl == 0 then call('DEL', base .. ':limiter') end
    if ttl < 0 then used = 0 end
  end
  return math.max(0, max - used), 0
end

local function count_in_limiter(count)
  if count == 0 or not (settings.limiter_max or limiter_max) then return end
  local duration = math.floor(limiter_ms or settings.limiter_ms or 0)
  if call('INCRBY', base .. ':limiter', count) == count and duration > 0 then
    call('PEXPIRE', base .. ':limiter', duration)
  end
end

-- Locks a job and notes its start. Returns its hash, and whether it is to fail without running (`defa`).
local function start_job(id)
  local key = base .. ':' .. id
  local fields = call('HGETALL', key)
  local last = #fields
  local named, deferred, pinned, started = false, false, pin == '', 0
  for i = 1, last, 2 do
    local name = fields[i]
    if name == 'name' then
      named = true
    elseif name == 'ats' then
      started = tonumber(fields[i + 1]) or 0
    elseif name == 'defa' then
      deferred = true
    elseif name == 'torilVersion' then
      pinned = true
    end
  end
  if not named then
    call('LREM', active, 1, id)
    return nil
  end
  call('SET', key .. ':lock', token, 'PX', lock_ms)
  fields[last + 1], fields[last + 2] = 'processedOn', now_text
  fields[last + 3], fields[last + 4] = 'ats', started == 0 and '1' or string.format('%d', started + 1)
  if worker ~= '' then
    fields[last + 5], fields[last + 6] = 'pb', worker
  end
  if not pinned then
    fields[#fields + 1] = 'torilVersion'
    fields[#fields + 1] = pin
  end
  call('HSET', key, unpack(fields, last + 1))
  emit(base, 'active', 'jobId', id, 'prev', 'waiting')
  return fields, deferred
end

local function start_jobs(room)
  local jobs, limited = {}, 0
  for _, id in ipairs(move_to_active(base, room)) do
    local fields, deferred = start_job(id)
    if fields then
      jobs[#jobs + 1] = id
      jobs[#jobs + 1] = fields
      if not deferred then limited = limited + 1 end
    end
  end
  count_in_limiter(limited)
  -- More is waiting: let the next idle worker know.
  if #jobs > 0 and call('EXISTS', base .. ':wait', base .. ':prioritized') > 0 then
    call('ZADD', base .. ':marker', 0, '0')
  end
  return jobs
end

local function emit_drained()
  if call('EXISTS', base .. ':wait', active, base .. ':prioritized') == 0 then emit(base, 'drained') end
end

local function settle_entries()
  read_entries()
  if #entries == 0 then return end
  check_entries()
  unlock_settled()
  for i, entry in ipairs(entries) do
    if codes[i] == 0 then
      if entry.kind == 'retry' and not wrote_retry then
        -- Jobs that became due before this one came back go first.
        wrote_retry = true
        promote_due(base, settings, now)
      end
      settle[entry.kind](entry)
    end
  end
  for kind, list in pairs(ended) do
    in_chunks(list, function(...) call('ZADD', base .. ':' .. kind, ...) end)
  end
  for kind, rules in pairs(retention) do
    for rule in pairs(rules) do
      local count, age, limit = string.match(rule, '^([^,]*),([^,]*),([^,]*)$')
      retain_finished(base, kind, now, tonumber(count), tonumber(age), tonumber(limit))
    end
  end
  if metrics_points then
    for target, count in pairs(finished) do
      if count > 0 then collect_metrics(target, count) end
    end
  end
end

-- Returns the jobs, the limiter's wait in ms, and the next delayed time where there was nothing else to do.
local function take_jobs()
  if want == 0 then return {}, 0, nil end
  promote_due(base, settings, now)
  local room, limited = limiter_room()
  if limited > 0 then return {}, limited, nil end
  room = math.min(room, want, active_room(base, settings) or want)
  if room == 0 then return {}, 0, nil end
  local jobs = start_jobs(room)
  local due = nil
  if #jobs < 2 * room then due = next_delayed(base) end
  if #jobs == 0 and not due and finished.completed + finished.failed > 0 then emit_drained() end
  return jobs, 0, due
end

settle_entries()
local jobs, limited, due = take_jobs()
if want == 0 and finished.completed + finished.failed > 0 then emit_drained() end
if wrote_delayed then signal_delayed(base) end
return { codes, jobs, limited, due and math.floor(due) or 0 }
