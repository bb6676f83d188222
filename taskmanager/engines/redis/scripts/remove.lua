-- Removal of many jobs in one script: what can be done for all of them at once is gathered, and done at the end.

local leaving, nameless = {}, {}
local keys_gone, no_longer_delayed = {}, {}

local function leave(stream, entry)
  local entries = leaving[stream] or {}
  leaving[stream] = entries
  entries[#entries + 1] = entry
end

local function remove_plain(id, emission)
  nameless[#nameless + 1] = emission
  keys_gone[#keys_gone + 1] = JOB .. id
  keys_gone[#keys_gone + 1] = LOGS .. id
end

-- A finished job, by its entry in the stream of its state.
local function remove_finished(state, entry)
  local id = entry[2][2]
  local f = call('HMGET', JOB .. id, 'serial', 'rare')
  if f[2] then return forget(fetch(id)) end
  leave(FINISHED .. state, entry[1])
  if f[1] then remove_plain(id, f[1]) end -- else somebody deleted the record
end

-- A waiting or delayed job, which is cancelled thereby. What only it knows of itself goes with the others of its kind.
local function remove_standing(id, facts)
  local f = call('HMGET', JOB .. id, 'serial', 'emission', 'state', 'order', 'priority', 'event', 'opens', 'schedule',
    'awaited', 'aside')
  if not f[1] then return end -- somebody deleted the record: who claims its place passes over it
  if f[7] or f[8] or f[9] or f[10] then return cancel_standing(fetch(id), DELETED, facts, true) end
  append(facts, CANCELLED_STEP, f[6], id, '{"reason":"' .. DELETED .. '"}')
  local emission = f[2] or f[1]
  if f[3] == DELAYED then
    no_longer_delayed[#no_longer_delayed + 1] = member(tonumber(emission), id)
    due_changed = true
  else
    leave(LINE .. (f[5] or '0'), f[4] .. '-0')
  end
  remove_plain(id, emission)
end

local function carry_out()
  for stream, entries in pairs(leaving) do call('XDEL', stream, unpack(entries)) end
  if #no_longer_delayed > 0 then call('ZREM', DELAYED_SET, unpack(no_longer_delayed)) end
  if #nameless > 0 then
    unindex_all(nameless)
    call('DEL', unpack(keys_gone))
  end
end
