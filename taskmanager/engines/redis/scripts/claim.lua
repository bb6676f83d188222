-- claim: hands out waiting jobs under the worker's lease, which it renews.
--
-- ARGV   3 worker   4 limit   5 lease in ms   6 losses that make a suspect   7... the claims in the worker's hands
-- Answer head, whether more is claimable, number of facts, facts, then for a plain job, which starts now for the first
--        time, three values: claim number, id, "serial event created data"; for any other 14, with the claim number
--        negative: that, id, serial, event, data, options, priority, attempt or nil, failures, losses, created, run_at,
--        schedule, "claim started".
-- Cost   one call a plain job, some four any other; at most DUE_LIMIT jobs are looked at.
-- Needs  index places leases

local worker, limit, lease, suspect = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local facts, jobs = {}, {}
if paused then make_room() end -- else reading the lines comes first, which needs none
make_due(facts)
local held = HELD .. worker
local more = not hand_again(jobs, held, 7, limit)
local free = limit - #jobs / 14 -- none of these is plain
local looked, taken = 0, {}
local has_stale = call('EXISTS', STALE) == 1
local holds_suspect

local function is_suspect(losses) return tonumber(losses or 0) >= suspect end

-- Whether the worker has a suspect in its hands already; looked up where the first one comes.
local function has_suspect()
  if holds_suspect == nil then
    holds_suspect = false
    for _, name in ipairs(call('HVALS', held)) do
      if is_suspect(call('HGET', JOB .. claimed_id(name), 'losses')) then holds_suspect = true end
    end
  end
  return holds_suspect
end

-- Under the next claim number.
local function take(number, name)
  taken[#taken + 1] = number
  taken[#taken + 1] = name
  claims = claims + 1
  free = free - 1
end

local function hand_out(id, f)
  local number, attempt = int(claims + 1), int(attempt_of(f[6], f[12]) + 1)
  local run = run_of(number, NOW)
  call('HSET', JOB .. id, 'state', ACTIVE, 'attempt', attempt, 'run', run, 'worker', worker)
  if f[14] or f[15] or f[16] or f[17] then call('HDEL', JOB .. id, 'cancel', 'requeued', 'reaped', 'aside') end
  take(number, rare_claim(id))
  f[6], f[12] = attempt, run
  as_claim(jobs, claims, id, f)
end

-- Somebody deleted the job: its neighbours must not wait for it.
local function pass_over(line, order)
  call('XACK', line, GROUP, order)
  call('XDEL', line, order)
end

-- A plain job, which its first run makes two fields richer; `content` is "serial event created data".
local function hand_out_plain(line, order, id, content)
  local number, key = int(claims + 1), JOB .. id
  if call('HSET', key, 'state', ACTIVE, 'run', run_of(number, NOW), 'worker', worker) > 2 then
    call('DEL', key)
    return pass_over(line, order)
  end
  take(number, plain_claim(order, content, id))
  local at = #jobs
  jobs[at + 1], jobs[at + 2], jobs[at + 3] = claims, id, content
end

-- What the line would carry of a plain job whose data is too long for that; nil for any other.
local function plain_content(id)
  local f = call('HMGET', JOB .. id, 'serial', 'event', 'created', 'data', 'rare')
  return f[1] and not f[5] and table.concat(f, ' ', 1, 4)
end

-- One entry that this worker was delivered, or that was set aside: it starts, expires, or is (still) set aside.
local function look_at(line, order, id, content)
  looked = looked + 1
  if has_stale and call('SREM', STALE, id) == 1 then content = nil end
  content = content or plain_content(id)
  if content then return hand_out_plain(line, order, id, content) end
  local f = call('HMGET', JOB .. id, unpack(CLAIM_FIELDS))
  if not f[1] then return pass_over(line, order) end
  if f[13] and tonumber(f[13]) < now then
    local job = fetch(id)
    if not job.aside then call('XACK', line, GROUP, order) end
    cancel_standing(job, EXPIRED, facts)
    return
  end
  if is_suspect(f[8]) then
    if has_suspect() then
      if not f[17] then
        call('XCLAIM', line, GROUP, ASIDE, 0, order, 'JUSTID')
        call('HSET', JOB .. id, 'aside', '1', 'rare', '1')
        aside = aside + 1
      end
      return
    end
    holds_suspect = true
  end
  if f[17] then
    call('XCLAIM', line, GROUP, worker, 0, order, 'JUSTID')
    aside = aside - 1
  end
  hand_out(id, f)
end

local function id_of(entry) return entry[2][2] end
local function content_of(entry) return entry[2][4] end

-- Who was set aside comes before whatever is left in the line.
local function look_aside(line)
  for _, pending in ipairs(call('XPENDING', line, GROUP, '-', '+', DUE_LIMIT, ASIDE)) do
    if free <= 0 then return end
    local entry = call('XRANGE', line, pending[1], pending[1])[1]
    look_at(line, pending[1], id_of(entry))
  end
end

local function read(line, count)
  return 'XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', count, 'STREAMS', line, '>'
end

local function look_along(line)
  while free > 0 and looked < DUE_LIMIT do
    local count = math.min(free, DUE_LIMIT - looked)
    local streams = redis.pcall(read(line, count))
    if streams and streams.err then
      -- Somebody deleted the line, or its group; else it is the user who may not read, which is the caller's to hear.
      if not string.find(streams.err, 'NOGROUP', 1, true) then call(read(line, count)) end
      call('XGROUP', 'CREATE', line, GROUP, '0', 'MKSTREAM')
      streams = call(read(line, count))
    end
    local entries = streams and streams[1] and streams[1][2]
    if not entries or #entries == 0 then return end
    for _, entry in ipairs(entries) do look_at(line, entry[1], id_of(entry), content_of(entry)) end
  end
end

-- Whether this worker could be handed anything of what has not been delivered yet.
local function is_claimable(line)
  local group = call('XINFO', 'GROUPS', line)[1]
  if call('XLEN', line) == group[6] then return false end
  if not has_losses then return true end
  local after = '(' .. group[8]
  for _, count in ipairs({ 1, DUE_LIMIT }) do -- the first will mostly do
    for _, entry in ipairs(call('XRANGE', line, after, '+', 'COUNT', count)) do
      if not is_suspect(call('HGET', JOB .. id_of(entry), 'losses')) or not has_suspect() then return true end
    end
  end
  return false
end

if not paused then
  for _, priority in ipairs(lines) do
    if aside > 0 then look_aside(LINE .. priority) end
    look_along(LINE .. priority)
  end
  if #taken > 0 then
    call('HSET', held, unpack(taken))
  end
  local due = first_due()
  more = more or (due and tonumber(due) <= now) or (aside > 0 and not has_suspect())
  if not more and (free <= 0 or looked >= DUE_LIMIT) then
    for _, priority in ipairs(lines) do more = more or is_claimable(LINE .. priority) end
  end
end
if #jobs > 0 then
  call('ZADD', LEASES, int(now + lease), worker)
else
  keep_lease(worker, lease)
  end_lease(worker)
end
save()
-- Whoever may be full now leaves the rest, and the watch over the next moment, to another.
local answer = head(worker, more or (free <= 0 and first_due()))
append(answer, more and 1 or 0, #facts / 4)
extend(answer, facts)
for at = 1, #jobs do answer[#answer + 1] = jobs[at] end
return answer
