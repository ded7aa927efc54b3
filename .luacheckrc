-- Redis joins a script from files (see `script!` in host/queue/src/redis/script.rs), so what one file declares
-- is used in others: names of libraries are known to all files, and may be unused in their own.
std = 'lua51'
max_line_length = 130
read_globals = { 'KEYS', 'ARGV', 'cjson', 'cmsgpack', 'redis' }

local function declare(library)
  for line in io.lines(library) do
    local name = line:match('^local function ([%w_]+)')
    if name then read_globals[#read_globals + 1] = name end
    for constant in (line:match('^local ([%u_%d, ]+) =') or line:match('^local ([%u_%d, ]+)$') or ''):gmatch('[%u_%d]+') do
      read_globals[#read_globals + 1] = constant
    end
  end
end

for _, name in ipairs({ 'chunks', 'deduplication', 'events', 'ids', 'line', 'parent', 'queue', 'remove', 'request', 'store' }) do
  declare('host/queue/lua/lib/' .. name .. '.lua')
end
read_globals[#read_globals + 1] = 'call'
-- Deployments have a library of their own, wherever it lies.
for _, library in ipairs({ 'host/src/fleet/lua/lib.lua', 'host/src/served_queue/lua/lib.lua' }) do
  if pcall(declare, library) then files[library] = { ignore = { '211', '231' } } end
end
-- `context` is what settle.lua hands to `rarely`, which wraps lib/outcomes.lua.
read_globals[#read_globals + 1] = 'context'
read_globals[#read_globals + 1] = 'rarely'
files['host/queue/lua/lib'] = { ignore = { '211' } }
