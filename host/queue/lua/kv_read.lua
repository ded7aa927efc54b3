-- Reads values that are not too large to be read, with their versions.
--
-- KEYS[1]  `INDEX:meta` of the store
-- ARGV     1 VALUES, 2 how many bytes the values may have together, then keys
-- Returns  for each key its version and its value, `0` and nil where there is none; or 0: there are more bytes
local left, read = tonumber(ARGV[2]), {}
for i = 3, #ARGV do
  local name = VALUES .. ARGV[i]
  left = left - call('STRLEN', name)
  if left < 0 then return 0 end
  local value = call('GET', name)
  local _, version = entry(ARGV[i])
  read[#read + 1] = value and version or '0'
  read[#read + 1] = value
end
return read
