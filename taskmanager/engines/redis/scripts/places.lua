-- Where jobs stand, and how they change places.
--
-- A waiting or active job is an entry of its priority's stream (`order` is the entry's number), a delayed one a member
-- of a sorted set, a finished one an entry of its state's stream. Who takes a job out of one place puts it into the
-- next in the same script.

local FINAL = { [COMPLETED] = true, [FAILED] = true, [CANCELLED] = true }
local lines, known = {}, {}
for priority in string.gmatch(meta[6] or '', '%S+') do
  lines[#lines + 1], known[priority] = priority, true
end

-- The stream of a priority, made with its group where there is none; `lines` goes from the highest to the lowest.
local function line_of(priority)
  if not known[priority] then
    redis.pcall('XGROUP', 'CREATE', LINE .. priority, GROUP, '0', 'MKSTREAM')
    lines[#lines + 1], known[priority] = priority, true
    table.sort(lines, function(one, other) return tonumber(one) > tonumber(other) end)
    call('HSET', META, 'lines', table.concat(lines, ' '))
  end
  return LINE .. priority
end

local function member(emission, id) return format('%016d', emission) .. id end

-- To the end of a line.
local function line_up(id, priority)
  local line = line_of(priority)
  tide = tide + 1
  local order = int(tide)
  call('XADD', line, order .. '-0', 'id', id)
  call('HSET', JOB .. id, 'state', WAITING, 'order', order)
end

-- (`run_at` is in its record already, and makes it a rare one.)
local function put_off(id, emission, run_at)
  due_changed = true
  call('ZADD', DELAYED_SET, int(run_at), member(emission, id))
  call('HSET', JOB .. id, 'state', DELAYED)
end

-- What is due stands in line, at most DUE_LIMIT jobs a call, in the order of (run_at, emission).
local function make_due(facts)
  begin()
  if not due_before or tonumber(due_before) > now then return end
  due_changed = true
  local due = call('ZRANGEBYSCORE', DELAYED_SET, '-inf', NOW, 'LIMIT', 0, DUE_LIMIT)
  for _, one in ipairs(due) do
    local id = string.sub(one, 17)
    local job = call('HMGET', JOB .. id, 'priority', 'event')
    call('ZREM', DELAYED_SET, one)
    if job[2] then -- else somebody deleted the record
      line_up(id, job[1] or '0')
      append(facts, DUE, job[2], id, '')
    end
  end
end

-- ---- records
--
-- Most jobs are plain: they have only what every job has, and have not run before. One that has more says so in its
-- field `rare`, so that the hot path need not ask for twenty fields that are not there. The line's entry of a plain job
-- carries its content, so that its start need not look at the record; where that is true no more, STALE has its id.
-- A claim's name says which job it is: 'r' and its id, or for a plain one 'p', its line's entry, serial, event and id,
-- so that its end need not look at the record either.

-- The last run is "claim started"; which attempt it was is not written for a plain job, whose only one it is.
local function run_of(claim, started) return claim .. ' ' .. started end
local function claim_of(run) return string.match(run, '^%d+') end
local function started_of(run) return tonumber(string.match(run, '%d+$')) end
local function attempt_of(attempt, run) return tonumber(attempt or (run and 1 or 0)) end

-- What the moves below need to know of a job; nil where there is none of that id.
local function fetch(id)
  local f = call('HMGET', JOB .. id, 'state', 'serial', 'emission', 'order', 'priority', 'run_at', 'created', 'attempt',
    'schedule', 'awaited', 'next', 'opens', 'losses', 'aside', 'event', 'dead', 'run', 'cancel', 'requeued', 'worker')
  if not f[1] then return nil end
  local serial = tonumber(f[2])
  return { id = id, state = f[1], serial = serial, emission = tonumber(f[3] or serial), order = f[4],
    priority = f[5] or '0', run_at = tonumber(f[6] or f[7]), attempt = attempt_of(f[8], f[17]), schedule = f[9],
    awaited = f[10], next = f[11], opens = f[12], losses = tonumber(f[13] or 0), aside = f[14], event = f[15],
    dead = f[16], claim = f[17] and claim_of(f[17]), cancel = f[18], requeued = f[19], worker = f[20] }
end

local function plain_claim(entry, content, id)
  return 'p' .. entry .. ' ' .. string.match(content, '^%d+ %S+ ') .. id
end
local function rare_claim(id) return 'r' .. id end

local function claimed_id(name)
  return string.sub(name, 1, 1) == 'r' and string.sub(name, 2) or string.match(name, '^%S+ %S+ %S+ (.*)$')
end

-- A job that has more than a plain one, from now on.
local function make_rare(job)
  call('HSET', JOB .. job.id, 'rare', '1')
  if job.state == WAITING then call('SADD', STALE, job.id) end
  if job.state == ACTIVE and call('HEXISTS', HELD .. job.worker, job.claim) == 1 then
    call('HSET', HELD .. job.worker, job.claim, rare_claim(job.id))
  end
end

local function state_of(job)
  if job.state == DELAYED and job.run_at <= now then return WAITING end
  return job.state
end

-- Out of the place of a waiting or delayed job; the caller puts it into another.
local function take_out(job)
  if job.state == DELAYED then
    due_changed = true
    call('ZREM', DELAYED_SET, member(job.emission, job.id))
    return
  end
  local line = LINE .. job.priority
  if job.aside then
    call('XACK', line, GROUP, job.order .. '-0')
    call('HDEL', JOB .. job.id, 'aside')
    aside = aside - 1
  end
  call('XDEL', line, job.order .. '-0')
  call('SREM', STALE, job.id)
end

local recalled = {}
local function recall_dead_letter(job)
  if not job.dead then return end
  local letter = cjson.decode(job.dead)
  call('XDEL', letter.stream, letter.entry)
  recalled[letter.stream] = true
end

-- A dead-letter stream in which nothing is left goes.
local function drop_empty_streams()
  for stream in pairs(recalled) do
    if call('XLEN', stream) == 0 then call('DEL', stream) end
  end
end
at_the_end[1] = drop_empty_streams

-- The record of a finished job goes, with its logs and its dead letter; an awaited outcome stays.
local function forget(job)
  call('XDEL', FINISHED .. job.state, job.order .. '-0')
  unindex(job.emission)
  call('DEL', JOB .. job.id, LOGS .. job.id)
  recall_dead_letter(job)
end

local function count_live(schedule, change)
  if call('HINCRBY', LIVE, schedule, change) == 0 then call('HDEL', LIVE, schedule) end
end

-- Keeps `schedule_at`; whoever changed a schedule calls this.
local function look_ahead()
  schedule_at = call('ZRANGE', SCHEDULES, 0, 0, 'WITHSCORES')[2]
  if schedule_at then
    call('HSET', META, 'schedule_at', schedule_at)
  else
    call('HDEL', META, 'schedule_at')
  end
end

-- ---- debounce windows

local function window_name(window, event) return window.edge .. ' ' .. event .. ' ' .. window.key end

-- A window: "serial first_at until id", until 0 where it lasts as long as its job (trailing).
local function window_of(name)
  local text = call('HGET', WINDOWS, name)
  if not text then return nil end
  local serial, first, ends_at, id = string.match(text, '^(%d+) (%d+) (%d+) (.*)$')
  return { serial = tonumber(serial), first = tonumber(first), ends_at = tonumber(ends_at), id = id }
end

-- `holder` is the hash of the job, or of the follow-up, whose end closes the window.
local function open_window(holder, name, window)
  call('HSET', WINDOWS, name,
    int(window.serial) .. ' ' .. int(window.first) .. ' ' .. int(window.ends_at) .. ' ' .. window.id)
  if window.ends_at > 0 then
    call('ZADD', CLOSING, int(window.ends_at), name)
  end
  local opens = cjson.decode(call('HGET', holder, 'opens') or '[]')
  local kept = { name }
  for _, one in ipairs(opens) do
    if one ~= name and call('HEXISTS', WINDOWS, one) == 1 then kept[#kept + 1] = one end
  end
  call('HSET', holder, 'opens', cjson.encode(kept), 'rare', '1')
end

-- That job or follow-up lives no more: its trailing window is over, its leading one if it came to nothing.
local function end_serial(serial, opens, to)
  for _, name in ipairs(cjson.decode(opens or '[]')) do
    local window = window_of(name)
    if window and window.serial == serial and (window.ends_at == 0 or to ~= COMPLETED) then
      call('HDEL', WINDOWS, name)
      call('ZREM', CLOSING, name)
    end
  end
end

-- ---- ends

-- Keeps a copy of an awaited job, readable by its serial, AWAITED_MS beyond now; tells who waits.
local function keep_outcome(key, id, serial)
  local copy = OUTCOME .. int(serial)
  call('DEL', copy)
  call('HSET', copy, 'id', id, unpack(call('HGETALL', key)))
  call('ZADD', OUTCOMES, int(now + AWAITED_MS), int(serial))
  call('PUBLISH', ENDED, int(serial))
end

-- A follow-up becomes the job of its id; `losses` go on. The index has it since it was recorded.
local function succeed(id, losses)
  local key, fresh = JOB .. id, NEXT .. id
  call('RENAME', fresh, key)
  local f = call('HMGET', key, 'emission', 'run_at', 'priority', 'created', 'window', 'first', 'serial', 'event')
  if losses > 0 then call('HSET', key, 'losses', int(losses)) end
  call('HDEL', key, 'first')
  if f[2] and tonumber(f[2]) > now then
    put_off(id, tonumber(f[1]), tonumber(f[2]))
  else
    line_up(id, f[3] or '0')
  end
  local window = f[5] and cjson.decode(f[5])
  if window and window.edge == TRAILING then
    open_window(key, window_name(window, f[8]),
      { id = id, serial = tonumber(f[7]), first = tonumber(f[6]), ends_at = 0 })
  end
end

-- Ends a job that is out of its place; `fields` are what its record is to say of that. `removed`: nothing is to stay.
local function finish(job, to, fields, removed)
  local key = JOB .. job.id
  if job.opens then end_serial(job.serial, job.opens, to) end
  if job.schedule then count_live(job.schedule, -1) end
  append(fields, 'state', to, 'finished', NOW)
  if job.awaited then
    call('HSET', key, unpack(fields))
    keep_outcome(key, job.id, job.serial)
  end
  if job.next or removed then
    unindex(job.emission)
    call('DEL', key, LOGS .. job.id)
    recall_dead_letter(job)
    if job.next then succeed(job.id, job.losses) end
  else
    ends = ends + 1
    local order = int(ends)
    append(fields, 'order', order)
    call('HSET', key, unpack(fields))
    call('XADD', FINISHED .. to, order .. '-0', 'id', job.id, 'at', NOW)
  end
end

-- Cancels a waiting or delayed job.
local function cancel_standing(job, reason, facts, removed)
  take_out(job)
  append(facts, CANCELLED_STEP, job.event, job.id, '{"reason":"' .. reason .. '"}')
  finish(job, CANCELLED, { 'reason', reason }, removed)
end
