-- Puts a finished job back in line. Its parent, where it still exists, waits for it again.
--
-- KEYS[1]  the queue's base key
-- ARGV     1 job id, 2 failed or completed, 3 '1' for lifo
-- Returns  0, or -1 no such job, -3 not in this state
local base, id, state = KEYS[1], ARGV[1], ARGV[2]
local key = base .. ':' .. id
local fields = call('HMGET', key, 'name', 'priority', 'parentKey')
if not fields[1] then return -1 end
if call('ZREM', base .. ':' .. state, id) == 0 then return -3 end
local settings = read_settings(base)
trim_events(base, settings)
call('HDEL', key, 'finishedOn', 'processedOn', state == 'failed' and 'failedReason' or 'returnvalue')
add_ready(base, id, tonumber(fields[2]) or 0, ARGV[3] == '1' and 'RPUSH' or 'LPUSH')
signal(base, settings)

local function took_back(parent_key)
  if state == 'completed' then return call('HDEL', parent_key .. ':processed', key) == 1 end
  return call('ZREM', parent_key .. ':unsuccessful', key) == 1 or call('HDEL', parent_key .. ':failed', key) == 1
end
if fields[3] and call('EXISTS', fields[3]) == 1 and took_back(fields[3]) then
  call('SADD', fields[3] .. ':dependencies', key)
end
emit(base, 'waiting', 'jobId', id, 'prev', state)
return 0
