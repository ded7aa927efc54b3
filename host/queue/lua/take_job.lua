-- Takes one job that nobody works on, whatever it waits for, so that its taker can settle it. It is no start: what
-- counts starts and attempts stays. A taker that dies leaves a lock that runs out.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 lock token, 3 lock duration (ms)
-- Returns  the state that the job was in, and for `active`, in which it stays, the token of its lock or ''
local base, id = QUEUE, ARGV[1]
if not is_job(base, id) then return { 'unknown', '' } end
local state, lock = state_of(base, id), base .. ':' .. id .. ':lock'
if state == 'active' then return { state, call('GET', lock) or '' } end

local function leave()
  if state == 'waiting' then
    return call('LREM', base .. ':wait', 1, id) + call('LREM', base .. ':paused', 1, id)
  end
  return call('ZREM', base .. ':' .. state, id)
end
if state == 'completed' or state == 'failed' or state == 'unknown' then return { state, '' } end
leave()
call('LPUSH', base .. ':active', id)
call('PSETEX', lock, ARGV[3], ARGV[2])
return { state, ARGV[2] }
