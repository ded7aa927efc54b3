-- Reads what became of a job's children, if it is not too large to be read.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 kind (`processed` or `failed`), 3 how many bytes it may have, 4 cursor and 5 count of a page, or
--          '' and '' for all
-- Returns  the next cursor, and keys and values in turn; or 0 there is more than that
local id, bytes_max = ARGV[1], tonumber(ARGV[3])
if not is_job(QUEUE, id) then return { '0', {} } end
local key = QUEUE .. ':' .. id .. ':' .. ARGV[2]
local bytes = 0
if ARGV[4] == '' then
  for _, child in ipairs(call('HKEYS', key)) do
    bytes = bytes + #child + call('HSTRLEN', key, child)
    if bytes > bytes_max then return 0 end
  end
  return { '0', call('HGETALL', key) }
end
local page = call('HSCAN', key, ARGV[4], 'COUNT', ARGV[5])
for _, text in ipairs(page[2]) do bytes = bytes + #text end
return bytes > bytes_max and 0 or page
