-- Forgets a queue that no host serves: all that is kept of it here. BullMQ's keys have other names.
--
-- ARGV     1 after how many ms of silence a host counts as gone
-- Returns  { 0, active digest or '', how many components, their bytes, how many changes, 1 where there was anything },
--          or { -1, the reports of hosts that serve it }
use(KEYS[1])

local working = {}
local hosts = call('HGETALL', HOSTS)
for i = 2, #hosts, 2 do
  local at, report = string.match(hosts[i], '^(%d+) (.*)$')
  if at and NOW - tonumber(at) <= tonumber(ARGV[1]) then working[#working + 1] = report end
end
if #working > 0 then return { -1, working } end

local active = call('HGET', DEPLOYMENT, 'active') or ''
local changes = call('LLEN', CHANGES)
local bytes, components = 0, call('ZRANGE', VERSIONS, 0, -1)
local keys = { DEPLOYMENT, BEFORE, TALLIES, HOSTS, CANCELS, HISTORY, LEFT, CHANGES, VERSIONS, NOTES }
for _, digest in ipairs(components) do
  local key = K .. ':component:' .. digest
  bytes = bytes + call('STRLEN', key)
  keys[#keys + 1] = key
end
local removed = 0
for _, key in ipairs(keys) do removed = removed + call('UNLINK', key) end
return { 0, active, #components, bytes, changes, removed > 0 and 1 or 0 }
