-- Stores the recording of an attempt, and drops the oldest ones of the queue beyond what it may keep.
--
-- KEYS[1]  `INDEX:meta`; INDEX has no other part of the queue
-- ARGV     1 `ID:ATTEMPT`, 2 the recording, 3 what it is about, 4 how long it is kept, in ms, 5 how many are kept and 6 how
--          many bytes of them, 7 what the keys of recordings begin with
-- Returns  1, or 0 it is larger than all that may be kept
--
-- INDEX:list    zset: `ID:ATTEMPT`, scored by when it was stored, in ms
-- INDEX:about   hash: `ID:ATTEMPT` -> `BYTES ABOUT`
-- INDEX:bytes   the sum of these bytes
local LIST, ABOUT, BYTES = QUEUE .. ':list', QUEUE .. ':about', QUEUE .. ':bytes'
local name, recording, age_ms, count_max, bytes_max = ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
-- Dropped at once, at most.
local DROPPED_MAX = 1000

local function drop(other)
  local bytes = string.match(call('HGET', ABOUT, other) or '', '^(%d+)')
  if bytes then call('DECRBY', BYTES, bytes) end
  call('HDEL', ABOUT, other)
  call('ZREM', LIST, other)
  call('UNLINK', ARGV[7] .. other)
end

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, old in ipairs(call('ZRANGEBYSCORE', LIST, '-inf', now - age_ms, 'LIMIT', 0, DROPPED_MAX)) do drop(old) end
drop(name)
if #recording > bytes_max or count_max < 1 or age_ms < 1 then return 0 end
call('SET', ARGV[7] .. name, recording, 'PX', age_ms)
call('HSET', ABOUT, name, #recording .. ' ' .. ARGV[3])
call('ZADD', LIST, now, name)
local bytes = call('INCRBY', BYTES, #recording)
for _ = 1, DROPPED_MAX do
  local count = call('ZCARD', LIST)
  if count <= count_max and bytes <= bytes_max then break end
  if count == 1 then
    -- This one fits: what was summed up is wrong, because keys were lost.
    call('SET', BYTES, #recording)
    break
  end
  drop(call('ZRANGE', LIST, 0, 0)[1])
  bytes = tonumber(call('GET', BYTES))
end
return 1
