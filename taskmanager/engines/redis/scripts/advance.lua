-- advance: moves a schedule's place and admits the occurrences, if it still has the revision that was read.
--
-- ARGV   3 name   4 revision   5 place   6 next_at or ''   7 dropped   then four an occurrence: id, event, data,
--        JSON of what is not default (an entry of admit.lua)
-- Answer head, whether it moved, number of facts, facts.
-- Needs  index places admit

local name, key = ARGV[3], SCHEDULE .. ARGV[3]
local f = call('HMGET', key, 'revision', 'dropped', 'overlap', 'event', 'data')
begin()
local facts = {}
local moved = f[1] == ARGV[4]
if moved then
  local dropped = tonumber(f[2]) + tonumber(ARGV[7])
  revisions = revisions + 1
  call('HSET', key, 'place', ARGV[5], 'revision', int(revisions))
  if ARGV[6] == '' then
    call('HDEL', key, 'next_at')
    call('ZADD', SCHEDULES, '0', name)
  else
    call('HSET', key, 'next_at', ARGV[6])
    call('ZADD', SCHEDULES, ARGV[6], name)
  end
  look_ahead()
  for at = 8, #ARGV, 4 do
    local entry = cjson.decode(ARGV[at + 3])
    entry.id, entry.event, entry.data = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    if f[3] == 'skip' and tonumber(call('HGET', LIVE, name) or 0) > 0 then
      append(facts, SKIPPED, entry.event, entry.id, '')
    else
      entry.schedule, entry.born = name, SCHEDULED
      entry.dropped = dropped > 0 and dropped or nil
      local status = identify(entry, moment(entry), facts)
      if status == EMITTED then dropped = 0 end
    end
  end
  call('HSET', key, 'dropped', int(dropped))
end
save()
local answer = head('')
append(answer, moved and 1 or 0, #facts / 4)
extend(answer, facts)
return answer
