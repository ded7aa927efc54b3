-- Reads what became of one child of a job, if its value is not too large to be read.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 key of the child, 3 how many bytes its value may have
-- Returns  a kind and a text: `completed` and the value, `failed` and the reason, `pending`, `unsuccessful` (the job fails
--          with it) or `unknown`; or 0 there is more than that
local id, child, bytes_max = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not is_job(QUEUE, id) then return { 'unknown', '' } end
local key = QUEUE .. ':' .. id
for kind, of in pairs({ completed = ':processed', failed = ':failed' }) do
  if call('HSTRLEN', key .. of, child) > bytes_max then return 0 end
  local text = call('HGET', key .. of, child)
  if text then return { kind, text } end
end
if call('SISMEMBER', key .. ':dependencies', child) == 1 then return { 'pending', '' } end
if call('ZSCORE', key .. ':unsuccessful', child) then return { 'unsuccessful', '' } end
return { 'unknown', '' }
