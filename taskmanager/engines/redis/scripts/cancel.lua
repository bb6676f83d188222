-- cancel: ends a job that does not run, marks one that does, and drops its follow-up.
--
-- ARGV   3 caller   4 the batch's number   5 id   6 serial or ''   7 states whose jobs go with their end
-- Answer see operate.lua.
-- Needs  replay index places operate

local answer = replayed(ARGV[3], ARGV[4])
if answer then return answer end
make_room()
begin()
local id, key = ARGV[5], JOB .. ARGV[5]
local job = find(id, ARGV[6])
local refused, changed = nil, false
if not job then
  changed = drop_recorded(id, ARGV[6], REQUESTED)
elseif job.state == ACTIVE then
  changed = not job.cancel or job.next ~= false
  call('HSET', key, 'cancel', '1')
  make_rare(job)
  call('SADD', MARKS, job.claim)
  if job.next then
    drop_follow_up(job, REQUESTED)
    call('DEL', NEXT .. id)
  end
  show(key, id)
elseif job.state == WAITING or job.state == DELAYED then
  cancel_standing(job, REQUESTED, facts)
  show(key, id)
  if string.find(ARGV[7], CANCELLED, 1, true) then forget(fetch(id)) end
  changed = true
else
  if job.state ~= CANCELLED then refused = job.state end
  show(key, id)
end
return ruling(ARGV[3], ARGV[4], refused, 0, changed)
