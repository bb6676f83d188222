-- Admission: what becomes of an emission, by its debounce window first and then by its identity.
--
-- An entry is a table: id, event, data, and where they are not the default priority, delay, run_at, expires_in,
-- expires_at, options, window (key, edge, within, max_wait), replace, awaited, schedule, born, dropped.
-- A verdict is status, job id, serial (nil where no job belongs to it). Each admission draws one emission number; what
-- keeps nothing draws none.

local OPENS = { [EMITTED] = true, [REPLACED] = true, [FOLLOW_UP] = true }

local function moment(entry)
  if entry.run_at then return entry.run_at end
  return later(entry.delay or 0)
end

local function expiry(entry)
  if entry.expires_at then return int(entry.expires_at) end
  if entry.expires_in then return int(later(entry.expires_in)) end
  return nil
end

local function detail_of(run_at, dropped)
  local words = {}
  if run_at and run_at > now then words[1] = '"delay":' .. int(run_at - now) end
  if dropped then words[#words + 1] = '"dropped":' .. int(dropped) end
  return #words > 0 and '{' .. table.concat(words, ',') .. '}' or ''
end

-- What a job or a follow-up carries of an entry, as fields for HSET.
local function content_of(entry, run_at)
  local fields = { 'event', entry.event, 'data', entry.data }
  if entry.priority and entry.priority ~= 0 then append(fields, 'priority', int(entry.priority)) end
  if run_at then append(fields, 'run_at', int(run_at)) end
  if entry.options then append(fields, 'options', entry.options) end
  local expires = expiry(entry)
  if expires then append(fields, 'expires', expires) end
  if entry.window then append(fields, 'window', cjson.encode(entry.window)) end
  if entry.awaited then append(fields, 'awaited', '1') end
  if #fields > 4 then append(fields, 'rare', '1') end
  return fields
end

local function born(entry, run_at, facts)
  emissions = emissions + 1
  local key = JOB .. entry.id
  local fields = content_of(entry, run_at ~= now and run_at or nil)
  append(fields, 'serial', emissions, 'created', NOW)
  if entry.schedule then append(fields, 'schedule', entry.schedule, 'rare', '1') end
  call('HSET', key, unpack(fields))
  index(emissions, entry.id)
  if run_at > now then
    put_off(entry.id, emissions, run_at)
  else
    line_up(entry.id, int(entry.priority or 0))
  end
  if entry.schedule then count_live(entry.schedule, 1) end
  append(facts, entry.born or EMITTED, entry.event, entry.id, detail_of(run_at, entry.dropped))
  return EMITTED, entry.id, emissions
end

-- A later emission's content, for a job that is out of its place: serial, birth, history and losses stay.
local function take_content(job, entry, run_at)
  local key = JOB .. job.id
  unindex(job.emission)
  emissions = emissions + 1
  call('HDEL', key, 'priority', 'options', 'expires', 'failures', 'max', 'requeued')
  call('HSET', key, 'rare', '1', 'attempt', '0', 'emission', emissions, unpack(content_of(entry, run_at)))
  index(emissions, job.id)
  job.emission, job.priority = emissions, int(entry.priority or 0)
end

local function place(job, run_at)
  if run_at > now then
    put_off(job.id, job.emission, run_at)
  else
    line_up(job.id, job.priority)
  end
end

-- The job of that id is waiting or delayed.
local function meet(job, entry, run_at, facts)
  if not entry.replace then
    if entry.awaited then
      call('HSET', JOB .. job.id, 'awaited', '1')
      make_rare(job)
    end
    append(facts, DUPLICATE, entry.event, job.id, '')
    return DUPLICATE, job.id, job.serial
  end
  take_out(job)
  take_content(job, entry, run_at)
  place(job, run_at)
  append(facts, REPLACED, entry.event, job.id, detail_of(run_at))
  return REPLACED, job.id, job.serial
end

-- The job of that id is active: the emission is its one follow-up, from now on.
local function record(job, entry, run_at, facts)
  local key = NEXT .. job.id
  local due = run_at > now and run_at or nil
  local old = job.next and call('HMGET', key, 'event', 'data', 'priority', 'options', 'run_at', 'expires', 'serial', 'emission')
  if old and old[1] == entry.event and old[2] == entry.data and tonumber(old[3] or 0) == (entry.priority or 0)
    and (old[4] or '') == (entry.options or '') and tonumber(old[5] or -1) == (due or -1)
    and (old[6] or '') == (expiry(entry) or '') then
    if entry.awaited then call('HSET', key, 'awaited', '1') end
    append(facts, DUPLICATE, entry.event, job.id, '')
    return DUPLICATE, job.id, tonumber(old[7])
  end
  emissions = emissions + 1
  local serial = old and tonumber(old[7]) or emissions
  if old then
    unindex(tonumber(old[8]))
    call('HDEL', key, 'priority', 'options', 'expires', 'run_at')
    -- A window is of one event, and goes with it.
    if not entry.window and entry.event ~= old[1] then call('HDEL', key, 'window') end
  else
    call('HSET', key, 'serial', int(serial), 'created', NOW, 'first', NOW)
    call('HSET', JOB .. job.id, 'next', int(serial))
    make_rare(job)
    job.next = int(serial)
  end
  call('HSET', key, 'rare', '1', 'emission', emissions, unpack(content_of(entry, due)))
  index(emissions, job.id)
  append(facts, FOLLOW_UP, entry.event, job.id, detail_of(due))
  return FOLLOW_UP, job.id, serial
end

-- Decides by identity alone.
local function identify(entry, run_at, facts)
  local job = fetch(entry.id)
  if job then
    if job.state == ACTIVE then return record(job, entry, run_at, facts) end
    if job.state == WAITING or job.state == DELAYED then return meet(job, entry, run_at, facts) end
    forget(job)
  end
  return born(entry, run_at, facts)
end

-- ---- windows

local function holder_of(status, id)
  return (status == FOLLOW_UP and NEXT or JOB) .. id
end

-- The first emission of the window runs; whatever comes inside is dropped.
local function lead(entry, name, facts)
  local window = window_of(name)
  if window and now < window.ends_at then
    append(facts, DEBOUNCED, entry.event, entry.id, '')
    return DEBOUNCED, entry.id, nil
  end
  local status, id, serial = identify(entry, moment(entry), facts)
  if OPENS[status] then
    open_window(holder_of(status, id), name,
      { id = id, serial = serial, first = now, ends_at = now + entry.window.within })
  end
  return status, id, serial
end

local function trailing_moment(entry, first)
  local due = later(entry.window.within)
  if entry.window.max_wait then due = math.min(due, first + entry.window.max_wait) end
  return math.max(due, moment(entry))
end

-- The window's job is not claimed yet: it takes the content, and moves while it is still delayed.
local function push_back(job, window, name, entry, facts)
  if job.state == DELAYED and job.run_at <= now then
    take_out(job)
    line_up(job.id, job.priority)
    append(facts, DUE, job.event, job.id, '')
    job = fetch(job.id)
  end
  if job.state == DELAYED then
    if job.attempt > 0 then
      window.first = now -- it has run since, and waits for a retry: this emission opens the window anew
      open_window(JOB .. job.id, name, window)
    end
    local run_at = trailing_moment(entry, window.first)
    take_out(job)
    take_content(job, entry, run_at)
    place(job, run_at)
    append(facts, DEBOUNCED, entry.event, job.id, detail_of(run_at))
    return DEBOUNCED, job.id, job.serial
  end
  local changes_line = int(entry.priority or 0) ~= job.priority
  if changes_line then take_out(job) end
  take_content(job, entry, nil)
  if changes_line then line_up(job.id, job.priority) end
  append(facts, DEBOUNCED, entry.event, job.id, '')
  return DEBOUNCED, job.id, job.serial
end

-- The last emission of the window runs, in the first one's job.
local function trail(entry, name, facts)
  local window = window_of(name)
  local job = window and fetch(window.id)
  if job then
    if job.serial == window.serial and job.state ~= ACTIVE then
      return push_back(job, window, name, entry, facts)
    end
    if job.serial == window.serial or tonumber(job.next or -1) == window.serial then
      local first = job.next and tonumber(call('HGET', NEXT .. job.id, 'first')) or now
      return record(job, entry, trailing_moment(entry, first), facts)
    end
  end
  local status, id, serial = identify(entry, trailing_moment(entry, now), facts)
  if OPENS[status] then
    local holder = holder_of(status, id)
    open_window(holder, name, { id = id, serial = serial, first = now, ends_at = 0 })
    if status == FOLLOW_UP then call('HSET', holder, 'first', NOW) end
  end
  return status, id, serial
end

local function admit(entry, facts)
  if not entry.window then return identify(entry, moment(entry), facts) end
  local name = window_name(entry.window, entry.event)
  return (entry.window.edge == LEADING and lead or trail)(entry, name, facts)
end
