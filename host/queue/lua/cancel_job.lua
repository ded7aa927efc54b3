-- Fails one job that no worker has, whatever it waits for. All at once: between two calls a worker could take it, or
-- the caller could die.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 now (ms), 3 reason, 4 failed jobs to keep, as in `settle.lua`, 5 the only attempt to cancel, as an
--          earlier call returned it, or '' for any, 6 '1': tell the children that the job waits for
-- Returns  what was done: `failed`, `runs` (a worker has it), `ended` (it had, or there is no job) or `another-attempt`; the
--          state that the job was in; its attempt; where a worker has it, the token of its lock, or ''; and the keys
--          of the children that it waited for when it failed, or waits for
--
-- An attempt stays the same while the job starts again without having failed: its worker died, or gave it back. A job that
-- is added again under the same id has another time.
local base, id, now_text, reason, rule, only = QUEUE, ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local key = base .. ':' .. id

-- `timestamp` is that of the job which has the id now. One that was to be cancelled may be gone, and another have its id.
local function children_told(timestamp)
  if ARGV[6] ~= '1' then return {} end
  local asked = string.match(only, '^%S+')
  local children = (only == '' or asked == timestamp) and call('SMEMBERS', key .. ':dependencies') or {}
  for _, child in ipairs(asked and call('SMEMBERS', left_children_key(base, id, asked)) or {}) do
    children[#children + 1] = child
  end
  return children
end

if not is_job(base, id) then return { 'ended', 'unknown', '', '', children_told('') } end
local state = state_of(base, id)
local fields = call('HMGET', key, 'parentKey', 'parent', 'deid', 'atm', 'stacktrace', 'timestamp', 'attemptsMade',
  'processedOn')
local attempts_made = fields[7] or fields[4] or '0'
local timestamp = fields[6] or '0'
local attempt, children = timestamp .. ' ' .. attempts_made, children_told(timestamp)
local lock = state == 'active' and call('GET', key .. ':lock')
if lock and (only == '' or only == attempt) then return { 'runs', state, attempt, lock, children } end
if state == 'completed' or state == 'failed' or state == 'unknown' then
  return { 'ended', state, attempt, '', children }
end
if only ~= '' and only ~= attempt then return { 'another-attempt', state, attempt, '', children } end
-- A job that never started keeps its counts. An attempt that began has ended: a later retry by hand is another one.
if state == 'active' or only ~= '' or fields[8] then
  attempts_made = string.format('%.0f', math.min(tonumber(attempts_made) or 0, SAFE_INTEGER_MAX - 1) + 1)
end

local settings, finished = read_settings(base), { completed = 0, failed = 0 }
-- First of all writes, so that the job is cancelled where Redis has no memory left.
trim_events(base, settings)
if state == 'waiting' then
  if call('LREM', base .. ':wait', 1, id) == 0 then call('LREM', base .. ':paused', 1, id) end
elseif state == 'active' then
  -- Its lock ran out: its worker died, or cannot reach Redis, and must not find the job where it left it.
  call('LREM', base .. ':active', 1, id)
  -- Where that is no set, the next check for stalled jobs replaces it.
  redis.pcall('SREM', base .. ':stalled', id)
else
  call('ZREM', base .. ':' .. state, id)
end
local outcomes = rarely({
  base = base, settings = settings, now = tonumber(now_text), now_text = now_text, completed = {}, finished = finished })
outcomes.use_rule('failed', rule)
local settled, refused = pcall(outcomes.settle, { kind = 'failed', key = key, id = id, option = rule,
  attempts_made = attempts_made, value = reason, stack = fields[5] or '[]', parent_key = fields[1], parent = fields[2],
  deduplication = fields[3] })
-- A user of Redis may lack a command. The job comes back as one whose worker died.
if not settled then call('RPUSH', base .. ':active', id) end
local problem = outcomes.conclude()
if not settled then outcomes.raise(refused) end
if problem then outcomes.raise(problem) end
if call('EXISTS', base .. ':wait', base .. ':paused', base .. ':active', base .. ':prioritized') == 0 then
  emit(base, 'drained')
elseif state == 'active' then
  outcomes.signal_room()
end
return { 'failed', state, attempt, '', children }
