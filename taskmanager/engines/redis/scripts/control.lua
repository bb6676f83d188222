-- control: an operator's command. What a state does not allow is refused by naming the state, and changes nothing.
--
-- ARGV   3 caller   4 the batch's number   5 command   then its own:
--        promote, requeue, delete, await: 6 id   7 serial or ''
--        requeue_all: 6 event or ''   7 limit   8 where the last look ended or '-'
--        purge: 6 state   7 limit         unschedule: 6 name
-- Answer see operate.lua; requeue_all puts into the job's place where its look ended, '' at the end.
-- Cost   at most DUE_LIMIT jobs are looked at.
-- Needs  replay index places standing remove operate

local answer = replayed(ARGV[3], ARGV[4])
if answer then return answer end
make_room()
begin()
local first, second = ARGV[6], ARGV[7]
local commands = {}

local function set_paused(value, fact)
  if (meta[7] == '1') == value then return nil, 0, false end
  call('HSET', META, 'paused', value and '1' or '0')
  append(facts, fact, '', '', '')
  return nil, 0, true
end

function commands.pause() return set_paused(true, PAUSED) end

function commands.resume()
  local refused, count, changed = set_paused(false, RESUMED)
  if changed then tide = tide + 1 end -- what waited through the pause is claimable now
  return refused, count, changed
end

function commands.promote()
  local job = find(first, second)
  if not job then return end
  local state, changed = state_of(job), false
  if state == DELAYED then
    take_out(job)
    call('HSET', JOB .. first, 'run_at', NOW, 'rare', '1')
    line_up(first, job.priority)
    append(facts, DUE, job.event, first, '')
    state, changed = WAITING, true
  end
  show(JOB .. first, first)
  return state ~= WAITING and state or nil, 0, changed
end

local function run_again(job)
  local key = JOB .. job.id
  call('XDEL', FINISHED .. FAILED, job.order .. '-0')
  recall_dead_letter(job)
  if job.awaited and call('ZREM', OUTCOMES, int(job.serial)) == 1 then call('DEL', OUTCOME .. int(job.serial)) end
  call('HDEL', key, 'failures', 'losses', 'error', 'reason', 'finished', 'dead')
  call('HSET', key, 'requeued', '1', 'rare', '1')
  if job.schedule then count_live(job.schedule, 1) end
  line_up(job.id, job.priority)
  append(facts, REQUEUED, job.event, job.id, '')
end

function commands.requeue()
  local job = find(first, second)
  if not job then return end
  local failed = job.state == FAILED
  if failed then run_again(job) end
  show(JOB .. first, first)
  if failed then return nil, 0, true end
  local state = state_of(job)
  if state == WAITING and job.requeued then return nil, 0, false end
  return state, 0, false
end

function commands.requeue_all()
  local count, limit, seen = 0, tonumber(second), ''
  local from = ARGV[8] == '-' and '-' or '(' .. ARGV[8]
  local entries = call('XRANGE', FINISHED .. FAILED, from, '+', 'COUNT', DUE_LIMIT)
  for _, entry in ipairs(entries) do
    seen = entry[1]
    local job = fetch(entry[2][2])
    if first == '' or job.event == first then
      run_again(job)
      count = count + 1
      if count == limit then break end
    end
  end
  if #entries < DUE_LIMIT or count > 0 then return nil, count, count > 0 end
  shown = { seen }
  return nil, 0, false, true
end

function commands.delete()
  local job = find(first, second)
  if not job then return nil, 0, drop_recorded(first, second, DELETED) end
  if job.state == ACTIVE then
    show(JOB .. first, first)
    return ACTIVE, 0, false
  end
  if not FINAL[job.state] then cancel_standing(job, DELETED, facts) end
  show(JOB .. first, first)
  forget(fetch(first))
  return nil, 0, true
end

function commands.purge()
  if first == ACTIVE then return ACTIVE, 0, false end
  local limit, count = math.min(tonumber(second), DUE_LIMIT), 0
  if FINAL[first] then
    for _, entry in ipairs(call('XRANGE', FINISHED .. first, '-', '+', 'COUNT', limit)) do
      remove_finished(first, entry)
      count = count + 1
    end
  else
    for _, id in ipairs(standing(first, limit)) do
      if count == limit then break end
      remove_standing(id, facts)
      count = count + 1
    end
  end
  carry_out()
  return nil, count, count > 0
end

function commands.unschedule()
  local count = call('ZREM', SCHEDULES, first)
  call('DEL', SCHEDULE .. first)
  look_ahead()
  return nil, count, count > 0
end

function commands.await()
  local job = find(first, second)
  if job then
    local key, changed = JOB .. first, not job.awaited
    call('HSET', key, 'awaited', '1')
    if FINAL[job.state] then
      keep_outcome(key, first, job.serial)
    else
      make_rare(job)
    end
    show(key, first)
    return nil, 0, changed
  end
  if second == '' then return end
  job = holder_of_follow_up(first, second)
  if job then
    local key = NEXT .. first
    local changed = not call('HGET', key, 'awaited')
    call('HSET', key, 'awaited', '1', 'rare', '1')
    show(key, first)
    append(shown, 'losses', int(job.losses))
    return nil, 0, changed
  end
  local kept = OUTCOME .. second
  local ends_at = call('ZSCORE', OUTCOMES, second)
  if ends_at and tonumber(ends_at) > now and call('HGET', kept, 'id') == first then
    call('ZADD', OUTCOMES, int(now + AWAITED_MS), second)
    show(kept, first)
  end
end

local refused, count, changed, goes_on = commands[ARGV[5]]()
return ruling(ARGV[3], ARGV[4], refused, count, changed, goes_on)
