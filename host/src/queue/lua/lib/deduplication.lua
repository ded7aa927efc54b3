-- Deduplication: `de:ID` names the job that holds a deduplication id, `dn:ID` the newest job that was
-- added while the holder was active (`keepLastIfActive`).

local function hold_deduplication(base, deduplication_id, job_id, options)
  local key = base .. ':de:' .. deduplication_id
  local ttl = tonumber(options and options.ttl)
  if ttl and ttl > 0 and not options.keepLastIfActive then
    call('SET', key, job_id, 'PX', ttl)
  else
    call('SET', key, job_id)
  end
end

-- The holder finished: frees the id, then brings in the job that was kept for this moment.
local function finish_deduplication(base, settings, deduplication_id, job_id, now)
  local key = base .. ':de:' .. deduplication_id
  -- One that has a time to live runs out by itself.
  if call('PTTL', key) == -1 and call('GET', key) == job_id then call('DEL', key) end

  local next_key = base .. ':dn:' .. deduplication_id
  local kept = call('HMGET', next_key, 'name', 'data', 'opts', 'pk', 'pd', 'pdk', 'rjk', 'jid')
  if not kept[1] then return end
  local counter = call('INCR', base .. ':id')
  local id = kept[8] or tostring(counter)
  local ok, options = pcall(cjson.decode, kept[3] or '{}')
  if not ok or type(options) ~= 'table' then options = {} end
  hold_deduplication(base, deduplication_id, id, type(options.de) == 'table' and options.de or nil)
  local job = {
    name = kept[1], data = kept[2] or '{}', opts = kept[3] or '{}', parent_key = kept[4] or nil,
    parent = kept[5] or nil, scheduler = kept[7] or nil, deduplication = deduplication_id,
    delay = tonumber(options.delay) or 0, priority = tonumber(options.priority) or 0, lifo = options.lifo,
  }
  store_job(base, id, job, now)
  enqueue_job(base, settings, id, job, now)
  if kept[6] then call('SADD', kept[6], base .. ':' .. id) end
  call('DEL', next_key)
end
