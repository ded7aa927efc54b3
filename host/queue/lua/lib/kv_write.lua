-- Writing into a store (`lib/kv.lua`) within its limits.
--
-- ARGV     2 keys and 3 bytes that the store may have, 4 for how many ms a value is kept, or '', 5 the key of the set of
--          stores, 6 the store's name
local KEYS_MAX, BYTES_MAX, TTL_MS = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

-- 0 where there is room for so many more keys and bytes. A write that makes the store smaller always has room.
local function lacks_room(new_keys, growth)
  if new_keys > 0 and call('HLEN', SIZES) + new_keys > KEYS_MAX then return KEYS_FULL end
  if growth > 0 and tonumber(call('HGET', TOTALS, 'bytes') or '0') + growth > BYTES_MAX then return BYTES_FULL end
  return 0
end

-- Writes a value for which there is room.
local function put(key, value)
  local before, bytes = entry(key), #key + #value
  local version = call('HINCRBY', TOTALS, 'version', 1)
  if version == 1 then call('SADD', ARGV[5], ARGV[6]) end
  if before == 0 then call('ZADD', NAMES, 0, key) end
  if bytes ~= before then call('HINCRBY', TOTALS, 'bytes', bytes - before) end
  call('HSET', SIZES, key, string.format('%d %.0f', bytes, version))
  if TTL_MS then
    call('SET', VALUES .. key, value, 'PX', TTL_MS)
    call('ZADD', EXPIRIES, NOW + TTL_MS, key)
  else
    call('SET', VALUES .. key, value)
    call('ZREM', EXPIRIES, key)
  end
end
