-- Finds the jobs that a settle-and-fetch call took whose reply never arrived.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 lock token of the lost call, 2 lock duration (ms)
-- Returns  id and hash of each job in turn, as MessagePack; their locks are renewed
--
-- A lock with this token is that of the newest start: a later one would have written its own. Jobs whose locks
-- ran out are not found: the check for stalled jobs gives them back.
local base = QUEUE
local token, lock_ms = ARGV[1], ARGV[2]

local ids = call('LRANGE', base .. ':active', 0, -1)
local jobs = {}
-- First taken is last in `active`: the reply keeps processing order.
for i = #ids, 1, -1 do
  local key = base .. ':' .. ids[i]
  if redis.pcall('GET', key .. ':lock') == token and redis.pcall('HEXISTS', key, 'name') == 1 then
    call('PEXPIRE', key .. ':lock', lock_ms)
    jobs[#jobs + 1] = ids[i]
    jobs[#jobs + 1] = call('HGETALL', key)
  end
end
return cmsgpack.pack(jobs)
