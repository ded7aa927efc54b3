-- Asks the host that runs a job to stop it. All times are those of the server: the clock of the caller may be another one.
--
-- ARGV  1 for how long the request is kept (ms), and then names and values of its fields in turn
use(KEYS[1])
call('XADD', CANCELS, 'MINID', '=', string.format('%.0f', math.max(NOW - ARGV[1], 0)), '*', unpack(ARGV, 2))
call('PEXPIRE', CANCELS, ARGV[1])
