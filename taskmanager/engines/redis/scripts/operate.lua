-- An operator's word: what cancel and the commands of control share.
--
-- Answer head, refused state or '', count, whether anything changed, number of facts, facts, then the job's fields as
--        HGETALL gives them, where there is a job to show; 'id' among them, and those of its recorded follow-up with
--        'next:' before their names.

local facts = {}
local shown

local function show(key, id)
  shown = call('HGETALL', key)
  append(shown, 'id', id)
  if key ~= JOB .. id then return end
  local follow_up = call('HGETALL', NEXT .. id)
  for at = 1, #follow_up, 2 do append(shown, 'next:' .. follow_up[at], follow_up[at + 1]) end
end

-- `goes_on`: the caller is to look further under the same number, so this is not the answer to keep.
local function ruling(caller, number, refused, count, changed, goes_on)
  save()
  local answer = head('')
  append(answer, refused or '', count or 0, changed and 1 or 0, #facts / 4)
  extend(answer, facts)
  extend(answer, shown or {})
  if goes_on then return answer end
  return remember(caller, number, answer)
end

-- The job that is meant: by id, or by id and serial ('' where any will do).
local function find(id, serial)
  local job = fetch(id)
  if job and (serial == '' or tonumber(serial) == job.serial) then return job end
  return nil
end

-- The job whose recorded follow-up is meant.
local function holder_of_follow_up(id, serial)
  local job = fetch(id)
  if job and job.next and serial ~= '' and tonumber(job.next) == tonumber(serial) then return job end
  return nil
end

-- A follow-up that is dropped ends as the cancelled job it would have been; whoever awaits it finds that.
local function drop_follow_up(job, reason)
  local key = NEXT .. job.id
  call('HSET', key, 'state', CANCELLED, 'reason', reason, 'finished', NOW)
  if job.losses > 0 then call('HSET', key, 'losses', int(job.losses)) end
  local f = call('HMGET', key, 'serial', 'opens', 'awaited', 'event', 'emission')
  unindex(tonumber(f[5]))
  call('HDEL', JOB .. job.id, 'next')
  local serial = tonumber(f[1])
  if f[2] then end_serial(serial, f[2], CANCELLED) end
  if f[3] then keep_outcome(key, job.id, serial) end
  return f[4]
end

-- The reference may be to a recorded follow-up: then that alone is dropped, and it is a step.
local function drop_recorded(id, serial, reason)
  local job = holder_of_follow_up(id, serial)
  if not job then return false end
  local event = drop_follow_up(job, reason)
  append(facts, CANCELLED_STEP, event, id, '{"reason":"' .. reason .. '"}')
  show(NEXT .. id, id)
  call('DEL', NEXT .. id)
  return true
end
