-- A host with an admin API reports itself, whether it works queues or not: ARGV 1 is the host, ARGV 2 its JSON.
-- KEYS 1 is a hash: host -> JSON, with the time of the report in front. Hosts that fell silent are removed here.
local reports = call('HGETALL', KEYS[1])
for i = 1, #reports, 2 do
  local at = tonumber(string.match(reports[i + 1], '^%d+')) or 0
  if NOW - at > FORGET_MS then call('HDEL', KEYS[1], reports[i]) end
end
call('HSET', KEYS[1], ARGV[1], string.format('%d %s', NOW, ARGV[2]))
