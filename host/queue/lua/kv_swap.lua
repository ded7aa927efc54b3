-- Writes a value if the one that is there is still of the version that the caller has seen.
--
-- KEYS[1]  `INDEX:meta` of the store
-- ARGV     1 VALUES, 2 to 6 see `lib/kv_write.lua`, 7 key, 8 version, `0` for no value, 9 value, 10 to 12 see
--          `lib/request.lua`
-- Returns  1, or why nothing was written (`lib/kv.lua`)
local caller, number = ARGV[10], ARGV[11]
local reply = earlier_reply(caller, number, ARGV[12] == '1')
if reply then return reply end
local more_expired = prune()
local key, value = ARGV[7], ARGV[9]
local before, version = entry(key)
if call('EXISTS', VALUES .. key) == 0 then version = '0' end
if version ~= ARGV[8] then return CHANGED end
local lacks = lacks_room(before == 0 and 1 or 0, #key + #value - before)
if lacks ~= 0 then return more_expired and AGAIN or lacks end
put(key, value)
return note_reply(caller, number, 1)
