-- Emits an event that is no event of BullMQ.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 name of the event, 2.. names and values of its fields in turn
--          The last three are of `lib/request.lua`, which takes them off.
-- Returns  1
emit_trimmed(QUEUE, read_settings(QUEUE), ARGV[1], unpack(ARGV, 2))
return 1
