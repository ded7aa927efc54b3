-- Lists keys of a store in the order of their bytes. Writes nothing, so that a user who may only read can list.
--
-- KEYS[1]  `INDEX:meta` of the store
-- ARGV     1 VALUES, 2 the key after which to begin, or '', 3 how many keys to look at
-- Returns  the last key that was looked at, or '' where there are no more behind it, and the keys that have not expired
local from = ARGV[2] == '' and '-' or '(' .. ARGV[2]
local page = call('ZRANGEBYLEX', NAMES, from, '+', 'LIMIT', 0, ARGV[3])
local last = #page == tonumber(ARGV[3]) and page[#page] or ''
if #page == 0 or call('EXISTS', EXPIRIES) == 0 then return { last, page } end
local expiries, kept = call('ZMSCORE', EXPIRIES, unpack(page)), {}
for i, key in ipairs(page) do
  if not expiries[i] or tonumber(expiries[i]) > NOW then kept[#kept + 1] = key end
end
return { last, kept }
