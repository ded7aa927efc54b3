-- Taking jobs from the head of the line.

-- Moves up to `want` ids from the head of the line to active and returns them in processing order.
local function move_to_active(base, want)
  local ids = {}
  local waiting = call('LRANGE', base .. ':wait', -want, -1)
  if #waiting > 0 then
    call('LTRIM', base .. ':wait', 0, -#waiting - 1)
    for i = #waiting, 1, -1 do
      -- Markers of BullMQ before 5 sat in this list as `0:...`.
      if string.sub(waiting[i], 1, 2) ~= '0:' then ids[#ids + 1] = waiting[i] end
    end
  end
  if #ids < want then
    local popped = call('ZPOPMIN', base .. ':prioritized', want - #ids)
    for i = 1, #popped, 2 do ids[#ids + 1] = popped[i] end
    if #popped == 0 then call('DEL', base .. ':pc') end
  end
  if #ids > 0 then call('LPUSH', base .. ':active', unpack(ids)) end
  return ids
end
