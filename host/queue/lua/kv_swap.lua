-- Writes a value if the one that is there is still of the version that the caller has seen.
--
-- KEYS[1]  `INDEX:meta` of the store
-- ARGV     1 VALUES, 2 to 6 see `lib/kv_write.lua`, 7 key, 8 version, `0` for no value, 9 value
--          The last three are of `lib/request.lua`, which takes them off.
-- Returns  1, or why nothing was written (`lib/kv.lua`)
local more_expired = prune()
local key, value = ARGV[7], ARGV[9]
local before, version = entry(key)
if call('EXISTS', VALUES .. key) == 0 then version = '0' end
if version ~= ARGV[8] then return CHANGED end
local lacks = lacks_room(before == 0 and 1 or 0, #key + #value - before)
if lacks ~= 0 then return more_expired and AGAIN or lacks end
put(key, value)
return 1
