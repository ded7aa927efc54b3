-- A host reports what it does and learns what it should do.
--
-- ARGV     1 host, 2 report (JSON), 3 the revision that it knows, 4 the canary that its counts are of, or '',
--          5-8 attempts ended since the last report: active completed, active failed, candidate completed,
--          candidate failed
-- Returns  the record where its revision is another one, or else nil
call('HSET', HOSTS, ARGV[1], NOW .. ' ' .. ARGV[2])

-- The candidate goes back by itself when it fails more often than the active version, by more than the margin.
local function judge_canary()
  local fields = call('HMGET', DEPLOYMENT, 'canary', 'margin', 'minimum', 'candidate')
  if not fields[1] or fields[1] ~= ARGV[4] then return end
  local counts = {}
  for i, field in ipairs({ 'a0', 'a1', 'c0', 'c1' }) do
    counts[i] = call('HINCRBY', DEPLOYMENT, field, ARGV[4 + i])
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

if ARGV[4] ~= '' then judge_canary() end
if (call('HGET', DEPLOYMENT, 'revision') or '0') == ARGV[3] then return nil end
return record()
