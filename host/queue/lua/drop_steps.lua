-- Drops a step of a finished job, and those that were noted after it.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 failed or completed, 3 the prefix of their fields, 4 name of the step
-- Returns  how many were dropped, 0 there is no such step, or -1 no such job, -3 not in this state
local base, id, state, prefix, name = QUEUE, ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not is_job(base, id) then return -1 end
if not call('ZSCORE', base .. ':' .. state, id) then return -3 end
local key = base .. ':' .. id

-- Each is written with its order first.
local function order_of(field)
  return tonumber(string.match(call('HGET', key, field) or '', '^{"order":(%d+)'))
end

local first = order_of(prefix .. name)
if not first then return 0 end
local dropped = 0
for _, field in ipairs(call('HKEYS', key)) do
  if string.sub(field, 1, #prefix) == prefix and (order_of(field) or 0) >= first then
    dropped = dropped + call('HDEL', key, field)
  end
end
return dropped
