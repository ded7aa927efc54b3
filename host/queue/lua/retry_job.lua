-- Puts a finished job back in line. Its parent, where it still exists, waits for it again.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 failed or completed, 3 '1' for lifo, 4.. an access or nothing (lib/access.lua)
--          The last three are of `lib/request.lua`, which takes them off.
-- Returns  0, or -1 no such job, -3 not in this state, or the base key of a queue that is beyond the access
local base, id, state = QUEUE, ARGV[1], ARGV[2]
local key = base .. ':' .. id
if not is_job(base, id) then return -1 end
local access = read_access(4)
local beyond = access and parent_beyond_access(access, key)
if beyond then return beyond end
local fields = call('HMGET', key, 'priority', 'parentKey')
if not call('ZSCORE', base .. ':' .. state, id) then return -3 end
local settings = read_settings(base)
-- Before the job leaves its set: a user of Redis may lack the command.
call('HDEL', key, 'finishedOn', 'processedOn', state == 'failed' and 'failedReason' or 'returnvalue')
call('ZREM', base .. ':' .. state, id)
add_ready(base, settings, id, tonumber(fields[1]) or 0, ARGV[3] == '1' and 'RPUSH' or 'LPUSH')
signal(base, settings)

local function took_back(parent_key)
  if state == 'completed' then return call('HDEL', parent_key .. ':processed', key) == 1 end
  return call('ZREM', parent_key .. ':unsuccessful', key) == 1 or call('HDEL', parent_key .. ':failed', key) == 1
end
if fields[2] and call('EXISTS', fields[2]) == 1 and took_back(fields[2]) then
  call('SADD', fields[2] .. ':dependencies', key)
end
emit_trimmed(base, settings, 'waiting', 'jobId', id, 'prev', state)
return 0
