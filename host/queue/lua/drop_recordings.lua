-- Drops recordings of a queue.
--
-- KEYS[1]  `INDEX:meta` (store_recording.lua)
-- ARGV     1 what the keys of recordings begin with, then `ID:ATTEMPT` of each
-- Returns  how many were there
local dropped = 0
for i = 2, #ARGV do
  local bytes = string.match(call('HGET', QUEUE .. ':about', ARGV[i]) or '', '^(%d+)')
  if bytes then call('DECRBY', QUEUE .. ':bytes', bytes) end
  call('HDEL', QUEUE .. ':about', ARGV[i])
  call('ZREM', QUEUE .. ':list', ARGV[i])
  dropped = dropped + call('UNLINK', ARGV[1] .. ARGV[i])
end
return dropped
