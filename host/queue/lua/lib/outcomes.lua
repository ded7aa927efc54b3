-- What becomes of jobs in all ways but the most common one, which is in `settle.lua`. `context` is what that
-- script knows: base, settings, now, now_text, completed (scores and ids for `completed`), finished (counts),
-- any_children (false: no job of the call waits for children that it has in Redis).
local base, settings, now, now_text = context.base, context.settings, context.now, context.now_text
local finished = context.finished

-- Scores and ids in turn of the jobs that were not written to `completed` and `failed` yet.
local ended = { completed = context.completed, failed = {} }
-- The rule of the last of them that says what to keep, and how many in a row have that rule.
local rule_of, in_a_row = { completed = '', failed = '' }, { completed = 0, failed = 0 }
local wrote_delayed, wrote_retry = false, false
-- What Redis said first of that which belongs to no job that is settled.
local problem

-- The jobs of the call were taken from `active` together: what fails for one thing must not keep the others from
-- where they go.
local function attempt(action, ...)
  local ok, what = pcall(action, ...)
  if not ok then problem = problem or what end
end

-- The ids of jobs that could not go where they were to go. They are active as before: they run again once their locks
-- have run out.
local staying = {}

-- `list` has scores and ids in turn.
local function stay_active(list)
  for i = 2, #list, 2 do
    call('RPUSH', base .. ':active', list[i])
    staying[list[i]] = true
  end
end

local function without_those_that_stay(ids, locks)
  if not next(staying) then return ids, locks end
  local left_ids, left_locks = {}, {}
  for i, id in ipairs(ids) do
    if not staying[id] then
      left_ids[#left_ids + 1] = id
      left_locks[#left_locks + 1] = locks[i]
    end
  end
  return left_ids, left_locks
end

local function write_ended(target)
  local list = ended[target]
  if #list == 0 then return end
  local added = redis.pcall('ZADD', base .. ':' .. target, unpack(list))
  if type(added) == 'table' then
    problem = problem or added
    stay_active(list)
  end
  for i = #list, 1, -1 do list[i] = nil end
end

local function apply_rule(target)
  local rule, jobs = rule_of[target], in_a_row[target]
  rule_of[target], in_a_row[target] = '', 0
  attempt(write_ended, target)
  if jobs == 0 then return end
  local count, age, limit = string.match(rule, '^([^,]*),([^,]*),([^,]*)$')
  attempt(retain_finished, base, target, now, tonumber(count), tonumber(age),
    (tonumber(limit) or REMOVED_BY_AGE_MAX) * jobs)
end

-- A rule is applied once for all neighbours that have it, and before jobs with another one are written: so all
-- ends as if each job was settled by itself. Jobs that are removed at once are never written.
local function use_rule(kind, rule)
  if string.sub(rule, 1, 2) == '0,' then return end
  local target = kind == 'exhausted' and 'failed' or kind
  if not rule_of[target] or rule_of[target] == rule then return end
  if rule_of[target] ~= '' then apply_rule(target) end
  rule_of[target] = rule
end

local function check_children(kind, key, child)
  local dependencies = key .. ':dependencies'
  local failed = call('EXISTS', key .. ':unsuccessful') == 1
  if kind == 'completed' then
    if call('EXISTS', dependencies) == 1 then return -4 end
    return failed and -9 or 0
  end
  if failed then return -9 end
  local pending = child ~= '' and redis.pcall('SISMEMBER', dependencies, child) or call('EXISTS', dependencies)
  return pending == 0 and 1 or 0
end

-- As long as a request to cancel is kept.
local LEFT_CHILDREN_MS = 300000

-- A call that cancels a job with its children looks for them once it has stopped, and it may be gone by then. The key keeps
-- its time when it is renamed; a user of Redis may lack either command.
local function note_left_children(entry)
  local dependencies = entry.key .. ':dependencies'
  if not context.any_children or call('EXISTS', dependencies) == 0 then return end
  if type(redis.pcall('PEXPIRE', dependencies, LEFT_CHILDREN_MS)) == 'table' then return end
  local timestamp = call('HGET', entry.key, 'timestamp') or '0'
  redis.pcall('RENAME', dependencies, left_children_key(base, entry.id, timestamp))
end

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
  use_rule(entry.kind, entry.option)
  if string.sub(entry.option, 1, 2) == '0,' then
    note_left_children(entry)
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
    in_a_row[entry.kind] = in_a_row[entry.kind] + (entry.option ~= '' and 1 or 0)
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

local by_kind = { completed = finish, failed = finish }

function by_kind.exhausted(entry)
  entry.kind = 'failed'
  finish(entry)
  emit(base, 'retries-exhausted', 'jobId', entry.id, 'attemptsMade', entry.attempts_made)
end

function by_kind.retry(entry)
  if not wrote_retry then
    -- Jobs that became due before this one came back go first.
    wrote_retry = true
    promote_due(base, settings, now)
  end
  note_attempt(entry)
  add_ready(base, settings, entry.id, priority_of(entry), entry.option)
  signal(base, settings)
  emit(base, 'waiting', 'jobId', entry.id, 'prev', 'active')
end

function by_kind.delayed(entry)
  note_attempt(entry)
  call('HSET', entry.key, 'delay', entry.option)
  add_delayed(base, settings, entry.id, now + tonumber(entry.option))
  wrote_delayed = true
end

-- Gives the job back untouched, first in line.
function by_kind.wait(entry)
  local priority = priority_of(entry)
  if priority > 0 then
    call('ZADD', base .. ':prioritized', priority * PRIORITY_STEP, entry.id)
  else
    call('RPUSH', base .. settings.line, entry.id)
    signal(base, settings)
  end
  emit(base, 'waiting', 'jobId', entry.id, 'prev', 'active')
end

-- The host could not run the job: it has spent no start.
by_kind['give-back'] = function(entry)
  call('HINCRBY', entry.key, 'ats', -1)
  if entry.option ~= '' then return by_kind.delayed(entry) end
  by_kind.wait(entry)
  -- Also where it is prioritized: the worker that gives it back takes no other one.
  signal(base, settings)
end

by_kind['waiting-children'] = function(entry)
  call('ZADD', base .. ':waiting-children', now_text, entry.id)
  emit(base, 'waiting-children', 'jobId', entry.id, 'prev', 'active')
end

-- What is written once for all entries, after the last one. Returns what went wrong, if anything did.
local function conclude()
  apply_rule('completed')
  apply_rule('failed')
  if wrote_delayed then attempt(signal_delayed, base) end
  return problem
end

-- Puts jobs from `ids[from]` on, which were taken off the line, back where they were. `prioritized` has ids and
-- scores in turn of those behind the first `waiting` ones, which come from the list.
local function put_in_line(ids, waiting, prioritized, from)
  local found = #ids
  local list, scored = {}, {}
  for i = math.min(found, waiting), from, -1 do list[#list + 1] = ids[i] end
  for i = math.max(from, waiting + 1), found do
    scored[#scored + 1] = prioritized[(i - waiting) * 2]
    scored[#scored + 1] = ids[i]
  end
  in_chunks(list, function(...) call('RPUSH', base .. ':wait', ...) end)
  in_chunks(scored, function(...) call('ZADD', base .. ':prioritized', ...) end)
end

-- Puts back the jobs that were taken and not looked at.
local function put_back(ids, waiting, prioritized, from)
  call('LTRIM', base .. ':active', #ids - from + 1, -1)
  put_in_line(ids, waiting, prioritized, from)
end

-- Redis refuses to read a job, which says nothing of it: it stays in line, and so do those behind it. `refusal` is raised
-- where there are no jobs before it.
local function leave_in_line(ids, waiting, prioritized, from, refusal)
  put_back(ids, waiting, prioritized, from)
  if refusal then error(redis.REDIS_VERSION_NUM and refusal or '-' .. refusal.err, 0) end
end

-- Jobs were taken off the line and cannot become active: a key is not of its type. They must not be lost.
local function fail_taking(ids, waiting, prioritized, reason)
  put_in_line(ids, waiting, prioritized, 1)
  error(redis.REDIS_VERSION_NUM and reason or '-' .. (reason.err or reason), 0)
end

-- Jobs finished per minute, newest first, as BullMQ's `getMetrics` reads them.
local function collect_metrics_of(target, count, points_max)
  local key = base .. ':metrics:' .. target
  local before = call('HINCRBY', key, 'count', count) - count
  local last = call('HMGET', key, 'prevTS', 'prevCount')
  if not last[1] then
    call('HSET', key, 'prevTS', now, 'prevCount', 0)
    return
  end
  local minutes = math.min(math.floor(now / 60000) - math.floor(tonumber(last[1]) / 60000), points_max)
  if minutes <= 0 then return end
  local points = { before - tonumber(last[2]) }
  for i = 2, minutes do points[i] = 0 end
  in_chunks(points, function(...) call('LPUSH', key .. ':data', ...) end)
  call('LTRIM', key .. ':data', 0, points_max - 1)
  call('HSET', key, 'prevCount', before, 'prevTS', now)
end

-- Metrics that are damaged are not collected: no job may suffer from it.
local function collect_metrics(points_max)
  for target, count in pairs(finished) do
    if count > 0 then pcall(collect_metrics_of, target, count, points_max) end
  end
end

return {
  check_children = check_children,
  settle = function(entry) by_kind[entry.kind](entry) end,
  promote_due = function() promote_due(base, settings, now) end,
  signal_room = function() signal_room(base, settings) end,
  raise = raise,
  use_rule = use_rule,
  conclude = conclude,
  stay_active = stay_active,
  without_those_that_stay = without_those_that_stay,
  put_back = put_back,
  leave_in_line = leave_in_line,
  fail_taking = fail_taking,
  collect_metrics = collect_metrics,
}
