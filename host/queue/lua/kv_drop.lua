-- Forgets a store that is empty.
--
-- KEYS[1]  `INDEX:meta` of the store
-- ARGV     1 VALUES, 2 the key of the set of stores, 3 the store's name
-- Returns  1, or 0 while it has keys
prune()
if call('EXISTS', SIZES) == 1 then return 0 end
call('UNLINK', TOTALS)
call('SREM', ARGV[2], ARGV[3])
return 1
