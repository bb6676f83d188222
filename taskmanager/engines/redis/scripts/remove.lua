-- Removal of many jobs in one script: what can be done for all of them at once is gathered, and done at the end.

local leaving, nameless = {}, {}
local keys_gone = {}

local function leave(stream, entry)
  local entries = leaving[stream] or {}
  leaving[stream] = entries
  entries[#entries + 1] = entry
end

local function remove_plain(id, serial)
  nameless[#nameless + 1] = serial .. '-0'
  keys_gone[#keys_gone + 1] = JOB .. id
  keys_gone[#keys_gone + 1] = LOGS .. id
end

-- A finished job, by its entry in the stream of its state.
local function remove_finished(state, entry)
  local id = entry[2][2]
  local f = call('HMGET', JOB .. id, 'serial', 'rare')
  if f[2] then return forget(fetch(id)) end
  leave(FINISHED .. state, entry[1])
  remove_plain(id, f[1])
end

-- A waiting or delayed job, which is cancelled thereby.
local function remove_standing(id, facts)
  local f = call('HMGET', JOB .. id, 'serial', 'rare', 'order', 'event')
  if f[2] then return cancel_standing(fetch(id), DELETED, facts, true) end
  append(facts, CANCELLED_STEP, f[4], id, '{"reason":"' .. DELETED .. '"}')
  leave(LINE .. '0', f[3] .. '-0')
  remove_plain(id, f[1])
end

local function carry_out()
  for stream, entries in pairs(leaving) do call('XDEL', stream, unpack(entries)) end
  if #nameless > 0 then
    call('XDEL', INDEX, unpack(nameless))
    call('DEL', unpack(keys_gone))
  end
end
