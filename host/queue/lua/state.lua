-- Finds the state of a job.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id
-- Returns  completed, failed, delayed, prioritized, active, waiting, waiting-children or unknown
return state_of(QUEUE, ARGV[1])
