-- Adds to a number that is stored as decimal text. Lua's numbers are too small for it, so Redis counts.
--
-- KEYS[1]  `INDEX:meta` of the store
-- ARGV     1 VALUES, 2 to 6 see `lib/kv_write.lua`, 7 key, 8 how much
--          The last three are of `lib/request.lua`, which takes them off.
-- Returns  the sum as text, or why nothing was written (`lib/kv.lua`)
local more_expired = prune()
local key, name = ARGV[7], VALUES .. ARGV[7]
-- The longest number, with its sign.
if call('STRLEN', name) > 20 then return NOT_AN_INTEGER end
local before, old = entry(key), call('GET', name)
local counted = redis.pcall('INCRBY', name, ARGV[8])
if type(counted) == 'table' and counted.err then
  if string.find(counted.err, 'overflow', 1, true) then return TOO_LARGE_A_NUMBER end
  if string.find(counted.err, 'not an integer', 1, true) then return NOT_AN_INTEGER end
  return counted
end
local sum = call('GET', name)
local lacks = lacks_room(before == 0 and 1 or 0, #key + #sum - before)
if lacks ~= 0 then
  if old then call('SET', name, old, 'KEEPTTL') else call('UNLINK', name) end
  return more_expired and AGAIN or lacks
end
put(key, sum)
return sum
