-- What every script begins with: the queue's keys, the moment, the counters, the answer.
--
-- KEYS   1 the queue's base   2 the store's mark   3 the set of queues
-- ARGV   1 now in ms, or '' for the server's TIME   2 the queue's name   then what the verb's header says
-- The loader puts the names of keys and the words of the domain (states, steps, reasons, limits) in front of this.
--
-- Numbers from Redis are text, absent fields are false. They go back as text through `int`: Lua's own way of writing a
-- number is slow, and has an exponent from 15 digits on.

local call = redis.call
local unpack = unpack or table.unpack
local format = string.format
local function int(number) return format('%d', number) end

local now, micros
if ARGV[1] == '' then
  local time = call('TIME')
  micros = tonumber(time[2])
  now, micros = tonumber(time[1]) * 1000 + math.floor(micros / 1000), micros % 1000
else
  now, micros = tonumber(ARGV[1]), 0
end
local NOW = int(now)

local meta = call('HMGET', META, 'emissions', 'tide', 'claims', 'revisions', 'ends', 'lines', 'paused', 'aside', 'mark',
  'schedule_at', 'has_losses', 'born')

-- A store is real or simulated; its first writer says which. Any answer may be this refusal instead.
local MINE = ARGV[1] == '' and 'real' or 'simulated'
local mark = meta[9] or call('GET', KEYS[2])
if mark and mark ~= MINE then return { 'MARKED', mark } end

local emissions, tide, claims = tonumber(meta[1] or 0), tonumber(meta[2] or 0), tonumber(meta[3] or 0)
local revisions, ends, aside = tonumber(meta[4] or 0), tonumber(meta[5] or 0), tonumber(meta[8] or 0)
local paused, schedule_at, has_losses, born = meta[7] == '1', meta[10], meta[11], meta[12]

local function later(delay) return math.min(now + delay, LATEST_MS) end

local function append(list, ...)
  for _, value in ipairs({ ... }) do list[#list + 1] = value end
end

local function extend(list, other)
  for _, value in ipairs(other) do list[#list + 1] = value end
end

-- A write that needs no room: after it, a full server lets the rest of the script run.
local function make_room() call('DEL', ROOM) end

-- The moment of the next delayed job, or nil; `due_changed` where it has to be looked up again.
local due_changed, due_at, due_before = true, nil, nil
local function first_due()
  if due_changed then
    due_at, due_changed = call('ZRANGE', DELAYED_SET, 0, 0, 'WITHSCORES')[2], false
  end
  return due_at
end

-- Looked at before anything is written, so that the end can tell whether a nearer moment has come.
local function begin() due_before = first_due() end

local at_the_end = {}

-- Ends a write: what has changed of the counters is kept.
local function save()
  for _, act in ipairs(at_the_end) do act() end
  local changed = {}
  local function keep(name, value, before)
    if value ~= tonumber(before or 0) then append(changed, name, value) end
  end
  keep('emissions', emissions, meta[1])
  keep('tide', tide, meta[2])
  keep('claims', claims, meta[3])
  keep('revisions', revisions, meta[4])
  keep('ends', ends, meta[5])
  keep('aside', aside, meta[8])
  if not meta[9] then
    local time = call('TIME')
    born = time[1] .. format('%06d', time[2])
    append(changed, 'mark', MINE, 'queue', ARGV[2], 'born', born)
    call('SET', KEYS[2], MINE)
    call('SADD', KEYS[3], ARGV[2])
  end
  if #changed > 0 then call('HSET', META, unpack(changed)) end
end

-- The head of every answer: now, its microseconds, tide, due_at, schedule_at, lease_at, 0 for "not replayed", born.
-- The lease is the first of another worker than `worker` ('' where nobody asks) to run out. One waiting worker hears
-- of new work or a nearer moment, or where `must_ring`; a token that nobody has taken yet says enough.
local function head(worker, must_ring)
  local due = first_due()
  local leases = call('ZRANGE', LEASES, 0, 1, 'WITHSCORES')
  local lease = leases[2]
  if leases[1] == worker then lease = leases[4] end
  local is_news = tide ~= tonumber(meta[2] or 0) or (due and (not due_before or tonumber(due) < tonumber(due_before)))
  if (is_news or must_ring) and call('LLEN', BELL) == 0 then call('LPUSH', BELL, '1') end
  return { NOW, micros, tide, due or false, schedule_at or false, lease or false, 0, born or '0' }
end
