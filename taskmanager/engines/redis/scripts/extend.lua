-- extend: the heartbeat. Renews the lease, writes the journal of claims that stand, brings back cancel marks.
--
-- ARGV   3 worker   4 lease in ms   5 number of journal entries, four values each: claim, number, 'log' or 'progress',
--        JSON   then the claims in the worker's hands
-- Answer head, whether the lease covers claims that were not named, number of facts, facts, number of lost claims, these,
--        then the claims whose jobs are to be cancelled. A fact's detail is "attempt JSON".
-- Needs  index places leases

local worker, lease, entries = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local first = 6 + 4 * entries
local facts, lost, marked = {}, {}, {}
local held, reaped = HELD .. worker, REAPED .. worker
make_room()
begin()
keep_lease(worker, lease)
for at = 6, first - 1, 4 do
  local claim, number, kind, text = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local name = call('HGET', held, claim)
  if name then
    local id = claimed_id(name)
    local key = JOB .. id
    local f = call('HMGET', key, 'heard', 'attempt', 'event', 'run')
    local attempt = int(attempt_of(f[2], f[4]))
    local of, heard = string.match(f[1] or '', '^(%d+) (%d+)$')
    if of ~= claim or tonumber(number) > tonumber(heard) then
      call('HSET', key, 'heard', claim .. ' ' .. number)
      if kind == 'log' then
        call('RPUSH', LOGS .. id, '[' .. NOW .. ',' .. attempt .. ',' .. text .. ']')
        call('LTRIM', LOGS .. id, -LOG_LINES, -1)
      else
        call('HSET', key, 'progress', text)
        append(facts, PROGRESS, f[3], id, attempt .. ' ' .. text)
      end
    end
  end
end
local seen, kept = {}, call('HLEN', held)
local has_marks = call('EXISTS', MARKS) == 1
for at = first, #ARGV do
  local number = ARGV[at]
  if not seen[number] then
    seen[number] = true
    if call('HEXISTS', held, number) == 1 then
      kept = kept - 1
      if has_marks and call('SISMEMBER', MARKS, number) == 1 then marked[#marked + 1] = number end
    elseif call('HEXISTS', reaped, number) == 0 then
      lost[#lost + 1] = number
    end
  end
end
save()
local answer = head(worker)
append(answer, kept > 0 and 1 or 0, #facts / 4)
extend(answer, facts)
answer[#answer + 1] = #lost
extend(answer, lost)
extend(answer, marked)
return answer
