-- A host stops working a queue: ARGV 1 is the host.
use(KEYS[1])
if call('HDEL', HOSTS, ARGV[1]) == 1 then note_seen(NOW) end
