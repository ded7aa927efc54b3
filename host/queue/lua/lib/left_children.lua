-- Where the pending children of a job that failed and is gone are noted for a while, for a call that cancels it with its
-- children. A job that is added later under its id has another time.
local function left_children_key(base, id, timestamp)
  return base .. ':toril-request:children-of:' .. timestamp .. ':' .. id
end
