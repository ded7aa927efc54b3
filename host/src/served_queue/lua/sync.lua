-- A host reports what it does on each of its queues, and learns what it should do: one call for all of them.
--
-- KEYS     one for each queue
-- ARGV     1 host, and then for each queue: report (JSON), the revision that it knows, the canary that its counts are
--          of, or '', the attempts ended since the last report: active completed, active failed, candidate
--          completed, candidate failed, and the last request to cancel a job that it knows, or '' where it runs none
-- Returns  for each queue nil where nothing is new, or a text, the error, or { record or nil where its revision is the
--          one known, newer requests to cancel }
local FIELDS = 8

-- The candidate goes back by itself when it fails more often than the active version, by more than the margin.
local function judge_canary(canary, at)
  local fields = call('HMGET', DEPLOYMENT, 'canary', 'margin', 'minimum', 'candidate')
  if not fields[1] or fields[1] ~= canary then return end
  local counts = {}
  for i, field in ipairs({ 'a0', 'a1', 'c0', 'c1' }) do
    counts[i] = call('HINCRBY', DEPLOYMENT, field, ARGV[at + i])
  end
  local function share(completed, failed)
    if completed + failed == 0 then return 0 end
    return failed / (completed + failed)
  end
  local active, candidate = share(counts[1], counts[2]), share(counts[3], counts[4])
  if counts[3] + counts[4] < tonumber(fields[3]) or candidate <= active + tonumber(fields[2]) then return end
  end_canary()
  change('aborted', fields[4], string.format(
    '%d of %d attempts failed, %.1f %% where the active version had %.1f %%',
    counts[4], counts[3] + counts[4], candidate * 100, active * 100))
end

local function sync(key, at)
  use(key)
  call('HSET', HOSTS, ARGV[1], NOW .. ' ' .. ARGV[at])
  local canary = ARGV[at + 2]
  if canary ~= '' then judge_canary(canary, at + 2) end
  local cancels = ARGV[at + 7] ~= '' and call('XRANGE', CANCELS, '(' .. ARGV[at + 7], '+') or {}
  local known = (call('HGET', DEPLOYMENT, 'revision') or '0') == ARGV[at + 1]
  if known and #cancels == 0 then return false end
  return { not known and record(), cancels }
end

local replies = {}
for i, key in ipairs(KEYS) do
  -- A queue whose keys are damaged must not keep the others from their deployments.
  local ok, reply = pcall(sync, key, 2 + (i - 1) * FIELDS)
  if ok then
    replies[i] = reply
  else
    replies[i] = type(reply) == 'table' and reply.err or tostring(reply)
  end
end
return replies
