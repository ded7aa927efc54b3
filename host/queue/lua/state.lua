-- Finds the state of a job.
--
-- KEYS[1]  the queue's base key
-- ARGV     1 job id
-- Returns  completed, failed, delayed, prioritized, active, waiting, waiting-children or unknown
local base, id = KEYS[1], ARGV[1]
for _, state in ipairs({ 'completed', 'failed', 'delayed', 'prioritized', 'waiting-children' }) do
  if call('ZSCORE', base .. ':' .. state, id) then return state end
end
if call('LPOS', base .. ':active', id) then return 'active' end
if call('LPOS', base .. ':wait', id) or call('LPOS', base .. ':paused', id) then return 'waiting' end
return 'unknown'
