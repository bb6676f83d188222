-- prune: finished jobs beyond their limits go, oldest end first, and whatever was kept for a while.
--
-- ARGV   3 limit   then three a state: state, age in ms or '', count or ''
-- Answer head, removed, whether more are to go, when the next outlives its time or '', the room left or ''.
-- Cost   at most `limit` jobs, and as many windows and outcomes.
-- Needs  replay index places remove

local limit = math.min(tonumber(ARGV[3]), DUE_LIMIT)
make_room()
begin()
local removed, more, next_at, room = 0, false, nil, nil

local function sooner(moment)
  if not next_at or moment < next_at then next_at = moment end
end

for at = 4, #ARGV, 3 do
  local state, age, count = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local ends_of = FINISHED .. state
  local length = call('XLEN', ends_of)
  if length > 0 then
    for _, entry in ipairs(call('XRANGE', ends_of, '-', '+', 'COUNT', limit - removed + 1)) do
      local ended_at = tonumber(entry[2][4])
      if not ((count and length > count) or (age and ended_at + age <= now)) then
        if age then sooner(ended_at + age) end
        break
      end
      if removed == limit then
        more = true
        if age then sooner(ended_at + age) end
        break
      end
      remove_finished(state, entry)
      removed, length = removed + 1, length - 1
    end
  end
  if count then
    local left = math.max(0, count - length)
    if not room or left < room then room = left end
  end
end

carry_out()
forget_answers()
for _, serial in ipairs(call('ZRANGEBYSCORE', OUTCOMES, '-inf', NOW, 'LIMIT', 0, DUE_LIMIT)) do
  call('ZREM', OUTCOMES, serial)
  call('DEL', OUTCOME .. serial)
end
for _, name in ipairs(call('ZRANGEBYSCORE', CLOSING, '-inf', NOW, 'LIMIT', 0, DUE_LIMIT)) do
  call('ZREM', CLOSING, name)
  call('HDEL', WINDOWS, name)
end
local outcome = call('ZRANGE', OUTCOMES, 0, 0, 'WITHSCORES')[2]
if outcome then sooner(tonumber(outcome)) end
save()
local answer = head('')
append(answer, removed, more and 1 or 0, next_at and int(next_at) or '', room and int(room) or '')
return answer
