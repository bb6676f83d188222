-- What every script begins with: the queue's keys, the moment, the counters, the answer.
--
-- KEYS   1 the queue's base   2 the store's mark   3 the set of queues
-- ARGV   1 now in ms, or '' for the server's TIME   2 the queue's name   then what the verb's header says
-- The loader puts the names of keys and the words of the domain (states, steps, reasons, limits) in front of this.
--
-- Numbers from Redis are text, absent fields are false. A number goes back as text through `int`: Lua would write a
-- large one with an exponent.

local call = redis.call
local unpack = unpack or table.unpack
local function int(number) return string.format('%.0f', number) end

local now, micros
if ARGV[1] == '' then
  local time = call('TIME')
  micros = tonumber(time[2])
  now, micros = tonumber(time[1]) * 1000 + math.floor(micros / 1000), micros % 1000
else
  now, micros = tonumber(ARGV[1]), 0
end
local NOW = int(now)

-- A store is real or simulated; its first writer says which. Any answer may be this refusal instead.
local MINE = ARGV[1] == '' and 'real' or 'simulated'
local mark = call('GET', KEYS[2])
if mark and mark ~= MINE then return { 'MARKED', mark } end

local meta = call('HMGET', META, 'emissions', 'tide', 'claims', 'revisions', 'ends', 'lines', 'paused', 'aside')
local emissions, tide, claims = tonumber(meta[1] or 0), tonumber(meta[2] or 0), tonumber(meta[3] or 0)
local revisions, ends, aside = tonumber(meta[4] or 0), tonumber(meta[5] or 0), tonumber(meta[8] or 0)
local paused = meta[7] == '1'
local was_tide, was_first = tide, nil

local function later(delay) return math.min(now + delay, LATEST_MS) end

-- Writes before it needs room, so that a full server lets the rest of the script run.
local function make_room() call('DEL', ROOM) end

local function first_due()
  return call('ZRANGE', DELAYED_SET, 0, 0, 'WITHSCORES')[2]
end

-- One waiting worker hears of it; a token that nobody has taken yet says enough.
local function ring()
  if call('LLEN', BELL) == 0 then call('LPUSH', BELL, '1') end
end

-- Ends a write: the counters are kept, and whoever waits hears of new work or of a nearer moment.
local function save()
  if not mark then
    call('SET', KEYS[2], MINE)
  end
  if not meta[2] then
    call('SADD', KEYS[3], ARGV[2])
  end
  call('HSET', META, 'emissions', int(emissions), 'tide', int(tide), 'claims', int(claims),
    'revisions', int(revisions), 'ends', int(ends), 'aside', int(aside))
end

-- The head of every answer: now, its microseconds, tide, due_at, schedule_at, lease_at, and 0 for "not replayed".
-- The lease is the first of another worker than `worker` ('' where nobody asks) to run out.
local function head(worker)
  local due = first_due()
  local schedule = call('ZRANGE', SCHEDULES, 0, 0, 'WITHSCORES')[2]
  local leases = call('ZRANGE', LEASES, 0, 1, 'WITHSCORES')
  local lease = leases[2]
  if leases[1] == worker then lease = leases[4] end
  if tide ~= was_tide or (due and (not was_first or tonumber(due) < tonumber(was_first))) then ring() end
  return { NOW, micros, tide, due or false, schedule or false, lease or false, 0 }
end

local function append(list, ...)
  for _, value in ipairs({ ... }) do list[#list + 1] = value end
end

local function extend(list, other)
  for _, value in ipairs(other) do list[#list + 1] = value end
end
