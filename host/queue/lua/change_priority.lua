-- Changes the priority of a job. One that waits is put in line again.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 priority, 3 '1' to put it before those of the same priority
-- Returns  0, or -1 no such job
local base, id, priority, lifo = QUEUE, ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
if not is_job(base, id) then return -1 end
local settings = read_settings(base)
-- Before the job leaves its list: a user of Redis may lack the command.
call('HSET', base .. ':' .. id, 'priority', ARGV[2])
local waited = call('ZREM', base .. ':prioritized', id) + call('LREM', base .. ':wait', -1, id)
  + call('LREM', base .. ':paused', -1, id) > 0
if waited and lifo and priority > 0 then
  call('ZADD', base .. ':prioritized', priority * PRIORITY_STEP, id)
elseif waited then
  add_ready(base, settings, id, priority, lifo and 'RPUSH' or 'LPUSH')
end
if waited then signal(base, settings) end
return 0
