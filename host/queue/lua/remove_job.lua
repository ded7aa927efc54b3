-- Removes a job, with or without its children. Nothing is removed when one of them is being worked on.
--
-- KEYS[1]  `base:meta` of the queue
-- ARGV     1 job id, 2 '1' to remove its children, too, 3.. an access or nothing (lib/access.lua)
--          The last three are of `lib/request.lua`, which takes them off.
-- Returns  1 removed, 0 locked, -1 no such job, -8 the next job of a scheduler,
--          or the base key of a queue that is beyond the access
local base, id, with_children = QUEUE, ARGV[1], ARGV[2] == '1'
local key = base .. ':' .. id
if not is_job(base, id) then return -1 end
local scheduler = call('HGET', key, 'rjk')
if scheduler then
  local next_ms = call('ZSCORE', base .. ':repeat', scheduler)
  if next_ms and id == 'repeat:' .. scheduler .. ':' .. next_ms then return -8 end
end
local access = read_access(3)
local beyond = access and beyond_access(access, base, id, with_children, false, {})
if beyond then return beyond end
if any_locked(key, with_children, {}) then return 0 end
trim_events(base, read_settings(base))
remove_tree(base, id, with_children, false, {})
return 1
