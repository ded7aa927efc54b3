-- Redis joins a script from files (see `script!` in host/queue/src/redis/script.rs), so what a library declares is
-- used in other files: its names are known to all, and may be unused in its own. Run from the root.
std = 'lua51'
max_line_length = 130
read_globals = { 'KEYS', 'ARGV', 'call', 'cjson', 'cmsgpack', 'redis' }

local function declare(library)
  for line in io.lines(library) do
    local name = line:match('^local function ([%w_]+)')
    if name then read_globals[#read_globals + 1] = name end
    for constant in (line:match('^local ([%u_%d, ]+) =') or line:match('^local ([%u_%d, ]+)$') or ''):gmatch('[%u_%d]+') do
      read_globals[#read_globals + 1] = constant
    end
  end
end

local libraries = io.popen("find host -name '*.lua' -path '*/lua/lib*' -not -path '*/target/*'")
for library in libraries:lines() do declare(library) end
libraries:close()

-- What settle.lua hands to `rarely`, which wraps its libraries.
read_globals[#read_globals + 1] = 'context'
read_globals[#read_globals + 1] = 'rarely'
files['**/lua/lib/*.lua'] = { ignore = { '211' } }
-- Set by one function for others.
files['**/lua/lib.lua'] = { ignore = { '211', '231' } }
