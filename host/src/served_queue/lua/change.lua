-- Changes what is deployed on a queue, whole or not at all.
--
-- ARGV     1 verb, 2 digest or '', 3 component or '', 4 note (JSON) or '', 5 how many versions to keep, 6 rule of
--          the canary (JSON) or '', 7 reason or '', 8 revision or ''
-- Verbs    store     keeps a component
--          deploy    makes a component active, or with a rule the candidate
--          promote   makes the candidate active
--          abort     ends the canary; with a revision, only the one that began with it
--          rollback  makes a stored version active again: the digest's, or else the one active before this one, or
--                    before nothing was
--          undeploy  takes the deployment away; hosts go back to their files
--          withdraw  takes back the change that made the revision, as if it had not been made: what was active before
--                    it is active again, and a canary that ran goes on
-- Returns  { 0, record } or { error }: -1 no such version, -2 no canary, -3 no version to go back to, -4 nothing is
--          deployed, -5 another change was made since the revision, -6 the candidate is the active version
use(KEYS[1])
local verb, digest = ARGV[1], ARGV[2]

local HISTORY_KEPT = 1000

local function component_key(of) return K .. ':component:' .. of end

local function is_stored(which) return call('EXISTS', component_key(which)) == 1 end

-- What a change replaces, apart from the history.
local REPLACED = { 'active', 'candidate', 'canary', 'rule', 'a0', 'a1', 'c0', 'c1' }

-- What `withdraw` puts back. It is taken before each verb, so that no verb can leave anything out.
local function standing()
  local fields = {}
  for i, value in ipairs(call('HMGET', DEPLOYMENT, unpack(REPLACED))) do
    if value then fields[REPLACED[i]] = value end
  end
  return { fields = fields }
end
local before = standing()

-- Where in the history the version stands that was active before this one, or before nothing was.
local function earlier()
  local active = call('HGET', DEPLOYMENT, 'active')
  local history = call('LRANGE', HISTORY, 0, -1)
  for i, which in ipairs(history) do
    -- The active one stands there twice in a row where one between was removed.
    if which ~= active and is_stored(which) then return i, history end
  end
end

local function is_in_use()
  local used = {}
  local at, history = earlier()
  if at then used[history[at]] = true end
  for _, fields in ipairs({ standing().fields, before.fields }) do
    if fields.active then used[fields.active] = true end
    if fields.candidate then used[fields.candidate] = true end
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
      call('SREM', LEFT, old)
    end
  end
end

-- Hosts may still report for the canary that this change replaced, which `withdraw` would put back.
local function drop_tallies()
  local now = call('HGET', DEPLOYMENT, 'canary')
  for _, counter in ipairs(call('HKEYS', TALLIES)) do
    local of = string.match(counter, '^%d+')
    if of ~= now and of ~= before.fields.canary then call('HDEL', TALLIES, counter) end
  end
end

local function store()
  if ARGV[3] ~= '' then
    call('SET', component_key(digest), ARGV[3])
    call('HSET', NOTES, digest, ARGV[4])
  elseif not is_stored(digest) then
    return false
  end
  call('ZADD', VERSIONS, NOW, digest)
  return true
end

local function activate(which)
  end_canary()
  call('HSET', DEPLOYMENT, 'active', which)
  call('ZADD', VERSIONS, NOW, which)
end

local function push_history(which)
  if call('LINDEX', HISTORY, 0) == which then return end
  call('LPUSH', HISTORY, which)
  call('LTRIM', HISTORY, 0, HISTORY_KEPT - 1)
  before.pushed = which
end

local verbs = {}

function verbs.store()
  if not store() then return -1 end
  change('stored', digest)
end

function verbs.deploy()
  local rule = ARGV[6]
  -- Its jobs would be compared with its own.
  if rule ~= '' and before.fields.active == digest then return -6 end
  if not store() then return -1 end
  if rule == '' then
    activate(digest)
    push_history(digest)
    change('deployed', digest)
    return
  end
  end_canary()
  -- From now on its jobs are those of a candidate: none goes on with it once it is aborted.
  call('SREM', LEFT, digest)
  -- What is said of a canary is said of this one from now on; the changes tell of the others.
  call('HDEL', DEPLOYMENT, 'aborted')
  local revision = change('canary', digest)
  call('HSET', DEPLOYMENT, 'candidate', digest, 'canary', revision, 'rule', rule, 'a0', 0, 'a1', 0, 'c0', 0, 'c1', 0)
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
    if not is_stored(digest) then return -1 end
    activate(digest)
    push_history(digest)
    change('rolled back', digest)
    return
  end
  local at, history = earlier()
  -- Where nothing is active, `undeploy` has nothing to take away either, so nobody should be told to try it.
  if not at then return call('HEXISTS', DEPLOYMENT, 'active') == 1 and -3 or -4 end
  call('LTRIM', HISTORY, at - 1, -1)
  before.popped = {}
  for i = 1, at - 1 do
    before.popped[i] = history[i]
    if is_stored(history[i]) then call('SADD', LEFT, history[i]) end
  end
  activate(history[at])
  change('rolled back', history[at])
end

function verbs.undeploy()
  local active = call('HGET', DEPLOYMENT, 'active')
  if not active then return -4 end
  end_canary()
  call('HDEL', DEPLOYMENT, 'active')
  change('undeployed', active)
end

local function restore_history(replaced)
  if replaced.pushed and call('LINDEX', HISTORY, 0) == replaced.pushed then call('LPOP', HISTORY) end
  local popped = replaced.popped or {}
  for i = #popped, 1, -1 do call('LPUSH', HISTORY, popped[i]) end
end

function verbs.withdraw()
  if call('HGET', DEPLOYMENT, 'revision') ~= ARGV[8] then return -5 end
  local made = before.fields.candidate or before.fields.active
  local stored = call('GET', BEFORE)
  if not made or not stored then return -4 end
  local replaced = cjson.decode(stored)
  local fields = replaced.fields
  call('HDEL', DEPLOYMENT, unpack(REPLACED))
  for field, value in pairs(fields) do call('HSET', DEPLOYMENT, field, value) end
  -- Nobody could run what somebody has removed meanwhile.
  if fields.active and not is_stored(fields.active) then call('HDEL', DEPLOYMENT, 'active') end
  if fields.candidate and not is_stored(fields.candidate) then end_canary() end
  restore_history(replaced)
  change('withdrawn', made, ARGV[7])
end

local refused = verbs[verb]()
if refused then return { refused } end
call('SET', BEFORE, cjson.encode(before))
prune(tonumber(ARGV[5]))
drop_tallies()
return { 0, record() }
