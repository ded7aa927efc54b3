-- Writes values into a store: all of them, or none where they do not fit.
--
-- KEYS[1]  `INDEX:meta` of the store
-- ARGV     1 VALUES, 2 to 6 see `lib/kv_write.lua`, then keys and values in turn, no key twice
-- Returns  0, or why nothing was written (`lib/kv.lua`)
local more_expired = prune()
local new_keys, growth = 0, 0
for i = 7, #ARGV, 2 do
  local before = entry(ARGV[i])
  if before == 0 then new_keys = new_keys + 1 end
  growth = growth + #ARGV[i] + #ARGV[i + 1] - before
end
local lacks = lacks_room(new_keys, growth)
if lacks ~= 0 then return more_expired and AGAIN or lacks end
for i = 7, #ARGV, 2 do put(ARGV[i], ARGV[i + 1]) end
return 0
