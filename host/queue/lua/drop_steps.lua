-- Drops a step of a finished job, and those that were noted after it.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 failed or completed, 3 the prefix of their fields, 4 name of the step
-- Returns  how many were dropped, 0 there is no such step, or -1 no such job, -3 not in this state
local base, id, state, prefix, name = QUEUE, ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not is_job(base, id) then return -1 end
if not call('ZSCORE', base .. ':' .. state, id) then return -3 end
local key = base .. ':' .. id

-- What cannot be read is in the way of its step, and has no place among the others.
local function order_of(field)
  local ok, record = pcall(cjson.decode, call('HGET', key, field))
  return ok and type(record) == 'table' and tonumber(record.order) or math.huge
end

if call('HEXISTS', key, prefix .. name) == 0 then return 0 end
local first = order_of(prefix .. name)
local dropped = 0
for _, field in ipairs(call('HKEYS', key)) do
  if string.sub(field, 1, #prefix) == prefix and order_of(field) >= first then
    dropped = dropped + call('HDEL', key, field)
  end
end
-- The jobs that they called are called anew.
call('HINCRBY', key, 'toril:steps-dropped', dropped)
return dropped
