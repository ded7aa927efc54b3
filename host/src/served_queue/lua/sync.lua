-- A host reports what it does on each of its queues, and learns what it should do: one call for all of them.
--
-- KEYS     one for each queue
-- ARGV     1 host, and then for each queue: report (JSON), the revision that it knows, the canary that its counts are
--          of, or '', who counts, the jobs that this counter has seen end since it began: active completed, active
--          failed, candidate completed, candidate failed, and the last request to cancel a job that it knows, or ''
--          where it runs none
-- Returns  for each queue nil where nothing is new, or a text, the error, or { record or nil where its revision is the
--          one known, newer requests to cancel, all counts of the canary or nil where it is not there any more, now (ms) }
local FIELDS = 9
local TALLIED = { 'a0', 'a1', 'c0', 'c1' }

-- False where Redis has no room for what is reported: hosts learn what they should do all the same. Any other error is
-- raised.
local function was_stored(reply)
  local refusal = type(reply) == 'table' and reply.err
  if not refusal then return true end
  if not string.find(refusal, 'OOM') then error(reply) end
  return false
end

-- Brings the counts of the canary up to date, if it is still this one, and returns them. What a counter has reported is
-- kept: a report that comes twice, because its reply was lost, or late, adds nothing.
local function count(canary, at, has_room)
  if call('HGET', DEPLOYMENT, 'canary') ~= canary then return false end
  -- Reports are of all jobs so far: what this one has is in a later one, too.
  if not has_room then return call('HMGET', DEPLOYMENT, unpack(TALLIED)) end
  local counter = canary .. ' ' .. ARGV[at]
  local next_reported = string.gmatch(call('HGET', TALLIES, counter) or '', '%d+')
  local counts, reported = {}, {}
  for i, field in ipairs(TALLIED) do
    local last, total = tonumber(next_reported() or 0), tonumber(ARGV[at + i])
    reported[i] = string.format('%.0f', math.max(last, total))
    counts[i] = call('HINCRBY', DEPLOYMENT, field, string.format('%.0f', math.max(total - last, 0)))
  end
  call('HSET', TALLIES, counter, table.concat(reported, ' '))
  return counts
end

local function sync(key, at)
  use(key)
  local has_room = was_stored(redis.pcall('HSET', HOSTS, ARGV[1], NOW .. ' ' .. ARGV[at]))
  local canary = ARGV[at + 2]
  local counts = canary ~= '' and count(canary, at + 3, has_room)
  local cancels = ARGV[at + 8] ~= '' and call('XRANGE', CANCELS, '(' .. ARGV[at + 8], '+') or {}
  local known = (call('HGET', DEPLOYMENT, 'revision') or '0') == ARGV[at + 1]
  if known and #cancels == 0 and not counts then return false end
  return { not known and record(), cancels, counts, NOW }
end

local replies = {}
-- A call to a cluster names one key more, which is no queue's.
for i = 1, (#ARGV - 1) / FIELDS do
  local key = KEYS[i]
  -- A queue whose keys are damaged must not keep the others from their deployments.
  local ok, reply = pcall(sync, key, 2 + (i - 1) * FIELDS)
  if ok then
    replies[i] = reply
  else
    replies[i] = type(reply) == 'table' and reply.err or tostring(reply)
  end
end
return replies
