-- Emits an event that is no event of BullMQ.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 caller or '', 2 number of its call, 3 '1' when the call is a repetition (see `lib/request.lua`),
--          4 name of the event, 5.. names and values of its fields in turn
-- Returns  1
local caller, number = ARGV[1], ARGV[2]
local reply = earlier_reply(caller, number, ARGV[3] == '1')
if reply then return reply end
emit_trimmed(QUEUE, read_settings(QUEUE), ARGV[4], unpack(ARGV, 5))
return note_reply(caller, number, 1)
