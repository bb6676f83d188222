-- reap: takes over jobs of leases that have run out; each gets a new claim under this worker's lease.
--
-- ARGV   3 worker   4 limit   5 lease in ms   6... the claims in the worker's hands
-- Answer head, whether more are left, 0, then 14 values a job as in claim.lua.
-- Cost   some six calls a job; oldest claims first among at most some DUE_LIMIT that are looked at.
-- Needs  index places leases

local worker, limit, lease = ARGV[3], math.min(tonumber(ARGV[4]), DUE_LIMIT), tonumber(ARGV[5])
local jobs = {}
make_room()
begin()
local more = not hand_again(jobs, REAPED .. worker, 6, limit)
local lapsed = {}
for _, owner in ipairs(call('ZRANGEBYSCORE', LEASES, '-inf', NOW)) do
  if owner ~= worker and #lapsed < DUE_LIMIT then
    for _, key in ipairs({ HELD .. owner, REAPED .. owner }) do
      local held = call('HGETALL', key)
      for at = 1, #held, 2 do
        lapsed[#lapsed + 1] = { number = tonumber(held[at]), id = claimed_id(held[at + 1]), key = key, owner = owner }
      end
    end
  end
end
table.sort(lapsed, function(one, other) return one.number < other.number end)

-- One job of a lease that has run out.
local function take_over(one)
  local number, id, key = int(one.number), one.id, JOB .. one.id
  local f = call('HMGET', key, 'order', 'priority', 'losses', 'cancel', 'run')
  call('HDEL', one.key, number)
  if not f[1] then return end_lease(one.owner) end -- somebody deleted the job
  call('XCLAIM', LINE .. (f[2] or '0'), GROUP, worker, 0, f[1] .. '-0', 'JUSTID')
  if f[4] then call('SREM', MARKS, number) end
  end_lease(one.owner)
  if tonumber(f[3] or 0) > 0 then tide = tide + 1 end -- a suspect left its worker, who may be handed another
  claims = claims + 1
  call('HSET', key, 'run', run_of(int(claims), int(started_of(f[5]))), 'reaped', '1', 'rare', '1')
  call('HSET', REAPED .. worker, claims, rare_claim(id))
  as_claim(jobs, claims, id, call('HMGET', key, unpack(CLAIM_FIELDS)))
end

local room = limit - #jobs / 14
for place, one in ipairs(lapsed) do
  if place > room then
    more = true
    break
  end
  take_over(one)
end
keep_lease(worker, lease)
save()
local answer = head(worker)
append(answer, more and 1 or 0, 0)
for at = 1, #jobs do answer[#answer + 1] = jobs[at] end
return answer
