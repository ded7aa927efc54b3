-- Renews the locks of running attempts of one worker. A lock that ran out (Redis was unreachable for longer than
-- it holds) is taken again while the job is active and was not started since: then no other attempt has the job.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 lock duration (ms), then per attempt: job id, lock token, how often the job had started
--          with it, and when it started (ms)
-- Returns  which attempts have no lock any more: 1 is the first one
local base, lock_ms = QUEUE, ARGV[1]
local keys = {}
for i = 2, #ARGV, 4 do keys[#keys + 1] = base .. ':' .. ARGV[i] .. ':lock' end
if #keys == 0 then return {} end

local tokens = {}
in_chunks(keys, function(...)
  for _, token in ipairs(call('MGET', ...)) do tokens[#tokens + 1] = token end
end)

-- A start that the host gave back is not counted, so the time tells it from the next one.
local function is_newest_start(id, started, started_at)
  local noted = redis.pcall('HMGET', base .. ':' .. id, 'ats', 'processedOn')
  return not noted.err and noted[1] and tonumber(noted[1]) == tonumber(started)
    and tonumber(noted[2]) == tonumber(started_at)
end

local kept, lost = {}, {}
for i, key in ipairs(keys) do
  local at = i * 4 - 2
  local id, token = ARGV[at], ARGV[at + 1]
  if tokens[i] == token then
    call('PEXPIRE', key, lock_ms)
    kept[#kept + 1] = id
  elseif not tokens[i] and is_newest_start(id, ARGV[at + 2], ARGV[at + 3]) and call('LPOS', base .. ':active', id) then
    -- The first write, so that the lock is taken where Redis has no memory left.
    trim_events(base, read_settings(base))
    call('SET', key, token, 'PX', lock_ms)
    -- Of two attempts at one start, only the first one has it.
    for other = i + 1, #keys do
      if keys[other] == key then tokens[other] = token end
    end
    kept[#kept + 1] = id
  else
    lost[#lost + 1] = i
  end
end
-- Where that is no set, the next check for stalled jobs replaces it.
in_chunks(kept, function(...) redis.pcall('SREM', base .. ':stalled', ...) end)
return lost
