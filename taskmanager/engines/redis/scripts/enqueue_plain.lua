-- The short way of enqueue, for most of what is emitted: jobs that have nothing but what every job has, under ids that
-- are free. It stands before the parts that know of all else, so that they need not be set up where it will do.

local answer = replayed(ARGV[3], ARGV[4])
if answer then return answer end
begin()
local is_due = due_before and tonumber(due_before) <= now
local width, keys, plain_line = tonumber(ARGV[5]), {}, LINE .. '0'
for at = 6, #ARGV, width do keys[#keys + 1] = JOB .. ARGV[at] end

-- Its number; the index is the caller's to tell.
local function add_plain(key, id, event, data)
  emissions, tide = emissions + 1, tide + 1
  local serial, order = int(emissions), int(tide)
  call('HSET', key, 'state', WAITING, 'event', event, 'data', data, 'serial', serial, 'order', order, 'created', NOW)
  if #data <= CARRIED then
    call('XADD', plain_line, order, 'id', id, 'job', serial .. ' ' .. event .. ' ' .. NOW .. ' ' .. data)
  else
    call('XADD', plain_line, order, 'id', id)
  end
  return serial
end

local has_line = meta[6] and string.find(' ' .. meta[6] .. ' ', ' 0 ', 1, true)
if width == 3 and has_line and not is_due and call('EXISTS', unpack(keys)) == 0 then
  local first, named = emissions + 1, {}
  for place, key in ipairs(keys) do
    local at = 3 + 3 * place
    local id = ARGV[at]
    named[2 * place - 1], named[2 * place] = add_plain(key, id, ARGV[at + 1], ARGV[at + 2]), id
  end
  index_all(first, named)
  save()
  answer = head('')
  append(answer, 0, first)
  return remember(ARGV[3], ARGV[4], answer)
end
