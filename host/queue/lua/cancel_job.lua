-- Fails one job that nobody works on, whatever it waits for. All at once: between two calls a worker could take it, or
-- the caller could die. It is no start: what counts starts and attempts stays.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 now (ms), 3 reason, 4 failed jobs to keep, as in `settle.lua`
-- Returns  the state that the job was in, and for `active`, in which it stays, the token of its lock or ''
local base, id, now_text, reason, rule = QUEUE, ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not is_job(base, id) then return { 'unknown', '' } end
local state, key = state_of(base, id), base .. ':' .. id
if state == 'active' then return { state, call('GET', key .. ':lock') or '' } end
if state == 'completed' or state == 'failed' or state == 'unknown' then return { state, '' } end

local settings, finished = read_settings(base), { completed = 0, failed = 0 }
-- First of all writes, so that the job is cancelled where Redis has no memory left.
trim_events(base, settings)
if state == 'waiting' then
  if call('LREM', base .. ':wait', 1, id) == 0 then call('LREM', base .. ':paused', 1, id) end
else
  call('ZREM', base .. ':' .. state, id)
end
local outcomes = rarely({
  base = base, settings = settings, now = tonumber(now_text), now_text = now_text, completed = {}, finished = finished })
local fields = call('HMGET', key, 'parentKey', 'parent', 'deid', 'atm', 'stacktrace')
outcomes.use_rule('failed', rule)
outcomes.settle({ kind = 'failed', key = key, id = id, option = rule, attempts_made = fields[4] or '0', value = reason,
  stack = fields[5] or '[]', parent_key = fields[1], parent = fields[2], deduplication = fields[3] })
local problem = outcomes.conclude()
if problem then error(redis.REDIS_VERSION_NUM and problem or '-' .. (problem.err or problem), 0) end
if call('EXISTS', base .. ':wait', base .. ':paused', base .. ':active', base .. ':prioritized') == 0 then
  emit(base, 'drained')
end
return { state, '' }
