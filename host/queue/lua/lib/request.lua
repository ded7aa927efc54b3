-- Calls that are repeated because their reply was lost are carried out once. The caller names itself and
-- numbers its calls; the script notes its last reply under the caller's name for a while. The note costs one
-- command; looking for it costs one more, and is done only for a call that says that it is a repetition.

-- Must be above the time after which a caller repeats no more; see `request.rs`.
local NOTE_MS = 120000

local function note_key(caller)
  return QUEUE .. ':toril-request:' .. caller
end

-- The reply to this call, if it was carried out before.
local function earlier_reply(caller, number, is_repetition)
  if caller == '' or not is_repetition then return nil end
  local note = call('GET', note_key(caller))
  if not note then return nil end
  local noted, reply = unpack(cmsgpack.unpack(note))
  return noted == number and reply or nil
end

-- A refusal changed nothing: a negative code, alone or before what it is about, or an error.
local function is_refusal(reply)
  local is_table = type(reply) == 'table'
  local code = is_table and reply[1] or reply
  return is_table and reply.err or type(code) == 'number' and code < 0
end

-- Carries out the whole script of a call whose last three arguments are the caller, or '', the number and whether it is a
-- repetition (`script!(once …)`). A refusal is not noted: the next time it may be none.
local function once(carry_out)
  local repeated, number, caller = table.remove(ARGV), table.remove(ARGV), table.remove(ARGV)
  local reply = earlier_reply(caller, number, repeated == '1')
  if reply then return reply end
  reply = carry_out()
  if caller ~= '' and not is_refusal(reply) then
    call('SET', note_key(caller), cmsgpack.pack({ number, reply }), 'PX', NOTE_MS)
  end
  return reply
end
