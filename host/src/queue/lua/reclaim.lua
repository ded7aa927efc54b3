-- Finds the jobs that a settle-and-fetch call took whose reply never arrived.
--
-- KEYS[1]  the queue's base key
-- ARGV     1 lock token base, 2 lock duration (ms), then the numbers of the tokens of the lost call
-- Returns  jobs, as settle-and-fetch does; their locks run anew
local base = KEYS[1]
local token_base, lock_ms = ARGV[1], ARGV[2]
local ours = {}
for i = 3, #ARGV do ours[token_base .. ':' .. ARGV[i]] = true end

local ids = call('LRANGE', base .. ':active', 0, -1)
local jobs = {}
for _, id in ipairs(ids) do
  local key = base .. ':' .. id
  local token = call('GET', key .. ':lock')
  if token and ours[token] then
    local fields = read_job(key)
    if fields[1] then
      call('PEXPIRE', key .. ':lock', lock_ms)
      -- First taken is last in `active`: the reply keeps processing order.
      table.insert(jobs, 1, job_reply(id, token, fields))
    end
  end
end
return jobs
