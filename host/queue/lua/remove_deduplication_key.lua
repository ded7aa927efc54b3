-- Lets jobs with a deduplication id be added again.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 deduplication id
--          The last three are of `lib/request.lua`, which takes them off.
-- Returns  1, or 0 no job held it
return call('DEL', QUEUE .. ':de:' .. ARGV[1])
