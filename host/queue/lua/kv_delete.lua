-- Removes keys from a store.
--
-- KEYS[1]  `INDEX:meta` of the store
-- ARGV     1 VALUES, then keys
-- Returns  how many were there
prune()
local removed = 0
for i = 2, #ARGV do removed = removed + remove(ARGV[i]) end
return removed
