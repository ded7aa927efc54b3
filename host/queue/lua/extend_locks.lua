-- Renews the locks of all running jobs of one worker. A lock that ran out (Redis was away for longer than
-- it holds) is taken again while the job is still active: then nobody gave the job to another worker.
--
-- KEYS[1]  the queue's base key
-- ARGV     1 lock duration (ms), then job id and lock token per job
-- Returns  the ids of the jobs whose lock is no longer ours
local base = KEYS[1]
local lock_ms = ARGV[1]
local keys = {}
for i = 2, #ARGV, 2 do keys[#keys + 1] = base .. ':' .. ARGV[i] .. ':lock' end
if #keys == 0 then return {} end

local tokens = {}
in_chunks(keys, function(...)
  for _, token in ipairs(call('MGET', ...)) do tokens[#tokens + 1] = token end
end)
local kept, lost = {}, {}
for i, key in ipairs(keys) do
  local id, token = ARGV[i * 2], ARGV[i * 2 + 1]
  if tokens[i] == token then
    call('PEXPIRE', key, lock_ms)
    kept[#kept + 1] = id
  elseif not tokens[i] and call('LPOS', base .. ':active', id) then
    call('SET', key, token, 'PX', lock_ms)
    kept[#kept + 1] = id
  else
    lost[#lost + 1] = id
  end
end
in_chunks(kept, function(...) call('SREM', base .. ':stalled', ...) end)
return lost
