-- Commands with many values.

-- Redis hands at most about 8,000 values to one command through `unpack`. Even, for pairs.
local UNPACK_MAX = 7000
local function in_chunks(values, action)
  for from = 1, #values, UNPACK_MAX do
    action(unpack(values, from, math.min(from + UNPACK_MAX - 1, #values)))
  end
end
