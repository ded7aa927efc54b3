-- Changes what is deployed on a queue, whole or not at all.
--
-- ARGV     1 verb, 2 digest or '', 3 component or '', 4 note (JSON) or '', 5 how many versions to keep, 6 rule of
--          the canary (JSON) or '', 7 reason or '', 8 revision or ''
-- Verbs    store     keeps a component
--          deploy    makes a component active, or with a rule the candidate
--          promote   makes the candidate active
--          abort     ends the canary; with a revision, only the one that began with it
--          rollback  makes a stored version active again: the digest's, or else the one active before
--          undeploy  takes the deployment away; hosts go back to their files
--          withdraw  takes back the change that made the revision, as if it had not been made: what was active before
--                    it is active again
-- Returns  { 0, record } or { error }: -1 no such version, -2 no canary, -3 no version to go back to, -4 nothing is
--          deployed, -5 another change was made since the revision
use(KEYS[1])
local verb, digest = ARGV[1], ARGV[2]

local function component_key(of) return K .. ':component:' .. of end

local function is_in_use()
  local used = {}
  for _, field in ipairs({ 'active', 'candidate' }) do
    local value = call('HGET', DEPLOYMENT, field)
    if value then used[value] = true end
  end
  local live = live_hosts()
  for i = 2, #live, 2 do
    -- Digests are found as texts: whatever a report mentions is in use.
    for found in string.gmatch(live[i], 'sha256:%x+') do used[found] = true end
  end
  return used
end

local function prune(keep)
  local stored = call('ZREVRANGE', VERSIONS, 0, -1)
  if #stored <= keep then return end
  local used = is_in_use()
  for i = keep + 1, #stored do
    local old = stored[i]
    if not used[old] then
      call('ZREM', VERSIONS, old)
      call('HDEL', NOTES, old)
      call('DEL', component_key(old))
      call('LREM', HISTORY, 0, old)
    end
  end
end

local function store()
  if ARGV[3] ~= '' then
    call('SET', component_key(digest), ARGV[3])
    call('HSET', NOTES, digest, ARGV[4])
  elseif call('EXISTS', component_key(digest)) == 0 then
    return false
  end
  call('ZADD', VERSIONS, NOW, digest)
  return true
end

local function activate(which)
  end_canary()
  local before = call('HGET', DEPLOYMENT, 'active') or ''
  -- What is deployed a second time is not what was there before it.
  if before ~= which then call('HSET', DEPLOYMENT, 'previous', before) end
  call('HSET', DEPLOYMENT, 'active', which)
  call('ZADD', VERSIONS, NOW, which)
end

local function push_history(which)
  if call('LINDEX', HISTORY, 0) ~= which then call('LPUSH', HISTORY, which) end
end

local verbs = {}

function verbs.store()
  if not store() then return -1 end
  change('stored', digest)
end

function verbs.deploy()
  if not store() then return -1 end
  if ARGV[6] == '' then
    activate(digest)
    push_history(digest)
    change('deployed', digest)
    return
  end
  end_canary()
  local revision = change('canary', digest)
  call('HSET', DEPLOYMENT, 'candidate', digest, 'canary', revision, 'rule', ARGV[6],
    'a0', 0, 'a1', 0, 'c0', 0, 'c1', 0)
end

function verbs.promote()
  local candidate = call('HGET', DEPLOYMENT, 'candidate')
  if not candidate then return -2 end
  activate(candidate)
  push_history(candidate)
  change('promoted', candidate)
end

function verbs.abort()
  local candidate, id = unpack(call('HMGET', DEPLOYMENT, 'candidate', 'canary'))
  if not candidate then return -2 end
  if ARGV[8] ~= '' and ARGV[8] ~= id then return -5 end
  end_canary()
  call('HSET', DEPLOYMENT, 'aborted', cjson.encode({ id = tonumber(id), digest = candidate, reason = ARGV[7] }))
  change('aborted', candidate, ARGV[7])
end

function verbs.rollback()
  if digest ~= '' then
    if call('EXISTS', component_key(digest)) == 0 then return -1 end
    activate(digest)
    push_history(digest)
    change('rolled back', digest)
    return
  end
  local history = call('LRANGE', HISTORY, 0, -1)
  for i = 2, #history do
    if call('EXISTS', component_key(history[i])) == 1 then
      call('LTRIM', HISTORY, i - 1, -1)
      activate(history[i])
      change('rolled back', history[i])
      return
    end
  end
  return -3
end

function verbs.undeploy()
  local active = call('HGET', DEPLOYMENT, 'active')
  if not active then return -4 end
  end_canary()
  call('HDEL', DEPLOYMENT, 'active', 'previous')
  change('undeployed', active)
end

function verbs.withdraw()
  if call('HGET', DEPLOYMENT, 'revision') ~= ARGV[8] then return -5 end
  local candidate = call('HGET', DEPLOYMENT, 'candidate')
  if candidate then
    end_canary()
    change('withdrawn', candidate, ARGV[7])
    return
  end
  local active, previous = unpack(call('HMGET', DEPLOYMENT, 'active', 'previous'))
  if not active then return -4 end
  if call('LINDEX', HISTORY, 0) == active then call('LPOP', HISTORY) end
  if previous and previous ~= '' and call('EXISTS', component_key(previous)) == 1 then
    call('HSET', DEPLOYMENT, 'active', previous)
    if call('LINDEX', HISTORY, 0) ~= previous then call('LPUSH', HISTORY, previous) end
  else
    call('HDEL', DEPLOYMENT, 'active')
  end
  call('HDEL', DEPLOYMENT, 'previous')
  change('withdrawn', active, ARGV[7])
end

local refused = verbs[verb]()
if refused then return { refused } end
prune(tonumber(ARGV[5]))
return { 0, record() }
