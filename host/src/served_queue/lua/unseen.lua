-- Returns  for how many ms no host has worked the queue and nobody has changed what is deployed on it
use(KEYS[1])
local last = tonumber(call('HGET', DEPLOYMENT, 'seen') or 0)
for _, report in ipairs(call('HVALS', HOSTS)) do
  last = math.max(last, tonumber(string.match(report, '^%d+')) or 0)
end
local change = call('LINDEX', CHANGES, 0)
if change then last = math.max(last, cjson.decode(change).at or 0) end
return NOW - last
