-- One key-value store: its values, and an index that says what is in it, so that limits hold without looking at values.
-- The index is the truth. A value that Redis dropped by itself (its time came, or an operator deleted it) stays counted until
-- `prune` or the next write of its key.
--
-- KEYS[1] is `INDEX:meta`, so that QUEUE is the index here:
-- INDEX:sizes     hash: key -> `BYTES VERSION`, the bytes of key and value, and the number of the write that left it
-- INDEX:keys      zset: the keys, all of score 0, so in the order of their bytes
-- INDEX:expiries  zset: the keys that expire, scored by when, in ms
-- INDEX:totals    hash: bytes, and version, which counts the writes. Kept when the store is empty: a version never repeats
-- INDEX:toril-request:CALLER  see `lib/request.lua`
-- VALUES .. key   the value
local VALUES = ARGV[1]
local SIZES, NAMES, EXPIRIES, TOTALS = QUEUE .. ':sizes', QUEUE .. ':keys', QUEUE .. ':expiries', QUEUE .. ':totals'

-- What scripts answer when nothing was written.
local KEYS_FULL, BYTES_FULL, NOT_AN_INTEGER, TOO_LARGE_A_NUMBER, CHANGED, AGAIN = -1, -2, -3, -4, -5, -6
-- Expired keys that one call takes out at most.
local PRUNED_MAX = 1000

local function now_ms()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local NOW = now_ms()

-- The bytes that a key is counted with, 0 where it is not there, and its version.
local function entry(key)
  local found = call('HGET', SIZES, key)
  if not found then return 0, '0' end
  local bytes, version = string.match(found, '^(%d+) (%d+)$')
  return tonumber(bytes), version
end

local function remove(key)
  local bytes = entry(key)
  if bytes == 0 then return 0 end
  call('HDEL', SIZES, key)
  call('UNLINK', VALUES .. key)
  call('ZREM', NAMES, key)
  call('ZREM', EXPIRIES, key)
  call('HINCRBY', TOTALS, 'bytes', -bytes)
  return 1
end

-- Takes out what expired. True: there may be more of it.
local function prune()
  local due = call('ZRANGEBYSCORE', EXPIRIES, '-inf', NOW, 'LIMIT', 0, PRUNED_MAX)
  for _, key in ipairs(due) do remove(key) end
  return #due == PRUNED_MAX
end
