-- Leases: who holds what. A worker's lease is one score in LEASES; what it holds are two hashes, by claim number the
-- claim's name, and the same jobs are its pending entries in the lines' group. It exists while the worker holds
-- something.

local function keep_lease(worker, lease)
  if call('EXISTS', HELD .. worker, REAPED .. worker) > 0 then
    call('ZADD', LEASES, int(now + lease), worker)
  end
end

-- A worker that owns nothing is no consumer either.
local function end_lease(worker)
  if call('EXISTS', HELD .. worker, REAPED .. worker) > 0 then return end
  call('ZREM', LEASES, worker)
  for _, priority in ipairs(lines) do -- (where somebody deleted the group, there is no consumer either)
    redis.pcall('XGROUP', 'DELCONSUMER', LINE .. priority, GROUP, worker)
  end
end

-- The claim numbers in `key` that are not among ARGV[first...], ascending.
local function beyond(key, first)
  local held = call('HKEYS', key)
  if #held == 0 then return held end
  local named, numbers = {}, {}
  for at = first, #ARGV do named[ARGV[at]] = true end
  for _, number in ipairs(held) do
    if not named[number] then numbers[#numbers + 1] = tonumber(number) end
  end
  table.sort(numbers)
  return numbers
end

-- What a worker needs of a job that it is handed, as 14 values, the claim number negative; see the header of claim.lua.
local CLAIM_FIELDS = { 'serial', 'event', 'data', 'options', 'priority', 'attempt', 'failures', 'losses', 'created',
  'run_at', 'schedule', 'run', 'expires', 'cancel', 'requeued', 'reaped', 'aside' }
local function as_claim(jobs, number, id, f)
  local at = #jobs
  jobs[at + 1], jobs[at + 2] = -number, id
  for field = 1, 12 do jobs[at + 2 + field] = f[field] end
end

-- Hands out again, up to `limit`, what the worker has under its lease and does not name; says whether that is all.
local function hand_again(jobs, key, first, limit)
  local numbers = beyond(key, first)
  for place, number in ipairs(numbers) do
    if place > limit then return false end
    local id = claimed_id(call('HGET', key, int(number)))
    local f = call('HMGET', JOB .. id, unpack(CLAIM_FIELDS))
    if f[1] then
      as_claim(jobs, number, id, f)
    else
      call('HDEL', key, int(number)) -- somebody deleted the job
    end
  end
  return true
end
