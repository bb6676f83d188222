-- settle: writes decisions whose claims stand. A recorded follow-up takes the place of a job that ends.
--
-- ARGV   3 caller   4 the batch's number   5 worker   6 states whose jobs go with their end, separated by spaces
--        7 how many values a settlement has: 1 where all have one form, no result and were started at once, else 4
--        8 number of forms, each JSON of a transition   then these a settlement: claim, unstarted ms, result or '', form
-- Answer head, then one a settlement: for a plain job that is completed the claim's name (see places); for any other
--        "r", how, attempt, event and id, with spaces between: how is 0 as the transition says, 1 cancelled by a mark,
--        2 superseded, 4 more where the claim was reaped, 8 more where its dead letter has no place; '-': the claim was
--        lost and nothing of it was written.
-- Cost   two calls a plain job, some four any other, at most DUE_LIMIT jobs.
-- Needs  replay index places leases

local answer = replayed(ARGV[3], ARGV[4])
if answer then return answer end
make_room()
begin()
local worker, transient = ARGV[5], {}
local WORKER = cjson.encode(worker)
for state in string.gmatch(ARGV[6], '%S+') do transient[state] = true end
local forms = {}
local width = tonumber(ARGV[7])
for at = 9, 8 + tonumber(ARGV[8]) do
  local form = cjson.decode(ARGV[at])
  form.is_plain = form.kind == COMPLETED and form.max_attempts and form.failures == 0 and form.losses == 0
    and not form.error and not form.reason
  forms[#forms + 1] = form
end
local first = 9 + #forms
local held, reaped = HELD .. worker, REAPED .. worker
local left, written, told = {}, {}, {}
local nameless, gone = {}, {}

-- The history of a job's hand-outs, a line each; the oldest go.
local function with_run(runs, line)
  if not runs then return line end
  runs = runs .. '\n' .. line
  local _, breaks = string.gsub(runs, '\n', '')
  while breaks >= ATTEMPTS_KEPT do
    runs = string.sub(runs, string.find(runs, '\n', 1, true) + 1)
    breaks = breaks - 1
  end
  return runs
end

-- Appends to the dead-letter stream; what the record is to say of it, nil where that key is no stream.
local function dead_letter(id, f, form)
  local kind = call('TYPE', form.dead_letter).ok
  if kind ~= 'none' and kind ~= 'stream' then return nil end
  local reason = form.reason or form.error_type or form.to
  local job = '{"id":' .. cjson.encode(id) .. ',"queue":' .. cjson.encode(ARGV[2]) .. ',"event":' ..
    cjson.encode(f[1]) .. ',"data":' .. f[18] .. '}'
  local entry = call('XADD', form.dead_letter, '*', 'job', job, 'dlqReason', reason, 'dlqTimestamp', NOW,
    'attempts', f[2], 'error', form.error or 'null')
  return cjson.encode({ stream = form.dead_letter, entry = entry, reason = reason, at = now, attempts = tonumber(f[2]) })
end

local function leave(line, entry)
  local leaving = left[line] or {}
  left[line] = leaving
  leaving[#leaving + 1] = entry
end

local function run_line(attempt, owner, started, step, error)
  return '[' .. attempt .. ',' .. owner .. ',' .. started .. ',' .. NOW .. ',"' .. step .. '",' .. error .. ']'
end

-- A plain job that is completed: most of all. Its one run reads from its other fields, so no history is written, and
-- its record stays as small as a server likes it (values over 64 bytes make a hash four times as large).
local function write_plain(name, unstarted, result, form)
  local entry, serial, id = string.match(name, '^p(%S+) (%d+) %S+ (.*)$')
  leave('0', entry)
  local key = JOB .. id
  if transient[COMPLETED] then
    nameless[#nameless + 1] = serial
    gone[#gone + 1] = key
    gone[#gone + 1] = LOGS .. id
    return name
  end
  ends = ends + 1
  local order = int(ends)
  if result == '' and unstarted == '0' and form.max_attempts == 1 then
    if call('HSET', key, 'state', COMPLETED, 'order', order, 'finished', NOW) > 1 then
      call('DEL', key) -- somebody deleted the record of a job that ran
      return name
    end
  else
    local fields = { 'state', COMPLETED, 'order', order, 'finished', NOW, 'max', int(form.max_attempts) }
    if result ~= '' then append(fields, 'result', result) end
    if unstarted ~= '0' then append(fields, 'unstarted', unstarted) end
    if call('HSET', key, unpack(fields)) == #fields / 2 then
      call('DEL', key)
      return name
    end
  end
  call('XADD', FINISHED .. COMPLETED, order .. '-0', 'id', id, 'at', NOW)
  return name
end

local function write(claim, unstarted, result, form, name, is_reaped)
  if form.is_plain and string.sub(name, 1, 1) == 'p' then return write_plain(name, unstarted, result, form) end
  local id = claimed_id(name)
  local key = JOB .. id
  local f = call('HMGET', key, 'event', 'attempt', 'serial', 'emission', 'order', 'priority', 'run', 'runs',
    'cancel', 'next', 'awaited', 'schedule', 'opens', 'losses', 'failures', 'worker', 'error', 'data')
  if not f[3] then return '-' end -- somebody deleted the record of a job that ran
  f[2] = int(attempt_of(f[2], f[7]))
  local to, step, reason, how, letter = form.to, form.kind, form.reason, 0, form.dead_letter
  if not FINAL[to] then
    if f[9] then
      to, step, reason, how, letter = CANCELLED, CANCELLED_STEP, REQUESTED, 1, nil
    elseif f[10] then
      to, step, reason, how, letter = form.superseded, form.superseded, SUPERSEDED, 2, nil
    end
  end
  local line = f[6] or '0'
  leave(line, f[5] .. '-0')
  if f[9] then call('SREM', MARKS, claim) end

  local losses = tonumber(f[14] or 0)
  if losses > 0 then tide = tide + 1 end -- a suspect left its worker, who may be handed another
  local owner = is_reaped and cjson.encode(f[16]) or WORKER
  local started = int(started_of(f[7]) + tonumber(unstarted))
  local run = run_line(f[2], owner, started, step, form.error or 'null')
  local fields = { 'rare', '1', 'attempt', f[2], 'runs', with_run(f[8], run) }
  if form.failures > 0 then append(fields, 'failures', int(tonumber(f[15] or 0) + form.failures)) end
  if form.losses > 0 then
    losses = losses + form.losses
    if not has_losses then
      call('HSET', META, 'has_losses', '1') -- from now on a line may hold suspects
      has_losses = '1'
    end
    append(fields, 'losses', int(losses))
  end
  if form.max_attempts then append(fields, 'max', int(form.max_attempts)) end
  if form.error then append(fields, 'error', form.error) end
  if result ~= '' then append(fields, 'result', result) end
  if reason then append(fields, 'reason', reason) end
  if f[17] and to == COMPLETED and not form.error then call('HDEL', key, 'error') end
  if is_reaped then call('HDEL', key, 'reaped') end

  local emission = tonumber(f[4] or f[3])
  if FINAL[to] then
    local dead = letter and dead_letter(id, f, form)
    if dead then
      append(fields, 'dead', dead)
    elseif letter then
      how = how + 8
    end
    finish({ id = id, serial = tonumber(f[3]), emission = emission, opens = f[13], schedule = f[12], awaited = f[11],
      next = f[10], losses = losses, dead = dead }, to, fields, transient[to])
  elseif to == DELAYED then
    local run_at = later(form.delay)
    append(fields, 'run_at', int(run_at))
    call('HSET', key, unpack(fields))
    put_off(id, emission, run_at)
  else
    call('HSET', key, unpack(fields))
    line_up(id, line)
  end
  if is_reaped then how = how + 4 end
  return 'r' .. how .. ' ' .. f[2] .. ' ' .. f[1] .. ' ' .. id
end

-- Takes entries out of their line. Whatever is older than all that is pending has ended, and goes at once: a server has
-- to look for each entry that it is to delete.
local function clear(line, entries)
  call('XACK', line, GROUP, unpack(entries))
  local pending = redis.pcall('XPENDING', line, GROUP)
  if pending.err then -- somebody deleted the group: the next claim makes another
    call('XDEL', line, unpack(entries))
    return
  end
  local eldest = pending[2]
  if not eldest then
    local delivered = string.match(call('XINFO', 'GROUPS', line)[1][8], '^%d+')
    call('XTRIM', line, 'MINID', int(tonumber(delivered) + 1))
    return
  end
  local younger = {}
  for _, entry in ipairs(entries) do
    if #entry > #eldest or (#entry == #eldest and entry > eldest) then younger[#younger + 1] = entry end
  end
  if #younger < #entries then call('XTRIM', line, 'MINID', eldest) end
  if #younger > 0 then call('XDEL', line, unpack(younger)) end
end

local numbers = {}
for at = first, #ARGV, width do numbers[#numbers + 1] = ARGV[at] end
if #numbers > 0 then
  local names = call('HMGET', held, unpack(numbers))
  for place, claim in ipairs(numbers) do
    local name, is_reaped = names[place], false
    if not name then
      name = call('HGET', reaped, claim)
      is_reaped = name
      call('HDEL', reaped, claim)
    end
    if name and not written[claim] then
      written[claim] = true
      local unstarted, result, form = '0', '', 1
      if width == 4 then unstarted, result, form = unpack(ARGV, first + 4 * place - 3, first + 4 * place - 1) end
      told[place] = write(claim, unstarted, result, forms[tonumber(form)], name, is_reaped)
    else
      told[place] = '-'
    end
  end
  call('HDEL', held, unpack(numbers))
end
for line, entries in pairs(left) do clear(LINE .. line, entries) end
if #gone > 0 then
  unindex_all(nameless)
  call('DEL', unpack(gone))
end
end_lease(worker)
save()
answer = head(worker)
extend(answer, told)
return remember(ARGV[3], ARGV[4], answer)
