-- What is deployed on one queue: `use` says on which. All keys of a queue share its hash tag, so that a cluster keeps them
-- together.
--
-- K:deployment  hash: revision, active, seen (when the last host that left, or fell silent, was there), aborted (JSON: id,
--               digest and reason of the last canary, if it was aborted), and while there is a canary: candidate, canary
--               (the revision at which it began), rule (JSON), and its counts a0 a1 c0 c1 (active and candidate, jobs that
--               completed and that failed)
-- K:before      JSON: what the last change replaced: fields of the deployment; what it pushed to the history, or popped
-- K:tallies     hash: 'canary counter' -> the part of the canary's counts that this counter of a host has reported
-- K:history     list: digests that were active, newest first; the first one is, if any is
-- K:left        set: stored digests that were active, and that a rollback took out of the history: their pinned jobs go on
-- K:changes     list of JSON: what was changed, newest first
-- K:versions    zset: digest, scored by when it was stored or became active
-- K:notes       hash: digest -> JSON
-- K:component:DIGEST
-- K:cancels     stream: id, token and reason of running jobs that should stop
-- K:hosts       hash: host -> JSON, with the time of the report in front
local call = redis.call
local K, DEPLOYMENT, BEFORE, TALLIES, HISTORY, LEFT, CHANGES, VERSIONS, NOTES, HOSTS, CANCELS

local function use(key)
  K, DEPLOYMENT, HOSTS = key, key .. ':deployment', key .. ':hosts'
  BEFORE, TALLIES, CANCELS = key .. ':before', key .. ':tallies', key .. ':cancels'
  HISTORY, LEFT, CHANGES = key .. ':history', key .. ':left', key .. ':changes'
  VERSIONS, NOTES = key .. ':versions', key .. ':notes'
end

local CHANGES_KEPT = 100
-- A host that has not reported for this long is forgotten; it says so again when it is back.
local FORGET_MS = 60000

local function now_ms()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local NOW = now_ms()

local function change(what, digest, reason)
  local revision = call('HINCRBY', DEPLOYMENT, 'revision', 1)
  local entry = cjson.encode({ revision = revision, at = NOW, what = what, digest = digest, reason = reason })
  call('LPUSH', CHANGES, entry)
  call('LTRIM', CHANGES, 0, CHANGES_KEPT - 1)
  return revision
end

local function end_canary()
  call('HDEL', DEPLOYMENT, 'candidate', 'canary', 'rule', 'a0', 'a1', 'c0', 'c1')
end

-- Notes when a host worked the queue.
local function note_seen(at)
  if at > tonumber(call('HGET', DEPLOYMENT, 'seen') or 0) then call('HSET', DEPLOYMENT, 'seen', at) end
end

local function record()
  return call('HGETALL', DEPLOYMENT)
end

-- The reports of hosts that are alive, as `{ host, 'TIME JSON', … }`; forgets the others.
local function live_hosts()
  local hosts = call('HGETALL', HOSTS)
  local live = {}
  for i = 1, #hosts, 2 do
    local at = tonumber(string.match(hosts[i + 1], '^%d+')) or 0
    if NOW - at > FORGET_MS then
      call('HDEL', HOSTS, hosts[i])
      note_seen(at)
    else
      live[#live + 1] = hosts[i]
      live[#live + 1] = hosts[i + 1]
    end
  end
  return live
end
