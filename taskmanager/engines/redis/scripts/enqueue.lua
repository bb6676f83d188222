-- enqueue: admits emissions and registers plans, in order.
--
-- ARGV   3 caller   4 the batch's number   5 how many values an entry has: 3 where all are plain and no id is there twice,
--        else 4   then these an entry: id, event, data, and '' or JSON of what is not default (an entry of admit.lua, or
--        a plan: {"plan": text, "pattern", "timezone", "immediate", ...})
-- Answer head, number of facts before the first entry, facts, then the first serial, where all entries were plain and
--        new; else 0 and per entry: its serial, where it is a new waiting job; else "status facts serial id", serial 0
--        where there is none, and its facts behind it. A fact is four values: step, event, job id, JSON detail or ''.
-- Cost   three calls a plain entry, some six any other, at most DUE_LIMIT jobs made due.
-- Needs  replay index enqueue_plain places admit

local facts = {}
if is_due then
  call('HSET', META, 'queue', ARGV[2]) -- a full server refuses here, before a write that frees lets it all pass
  make_due(facts)
end

local function register(name, event, data, plan)
  local key = SCHEDULE .. name
  local old = call('HMGET', key, 'pattern', 'timezone')
  revisions = revisions + 1
  tide = tide + 1 -- not a job, but an occurrence to compute: whoever waits has to hear of it once
  call('HSET', key, 'plan', plan.plan, 'data', data, 'pattern', plan.pattern, 'timezone', plan.timezone,
    'event', event, 'overlap', plan.overlap, 'revision', int(revisions))
  if old[1] ~= plan.pattern or old[2] ~= plan.timezone then
    local not_before = plan.not_before_at or now + (plan.not_before_in or 0)
    call('HSET', key, 'place', int(math.max(now, not_before - 1)), 'dropped', '0')
    call('HDEL', key, 'next_at')
    call('ZADD', SCHEDULES, '0', name)
  end
  look_ahead()
  local made = {}
  if plan.immediate and old[1] ~= plan.pattern then
    local run = { id = name .. '@immediate', event = event, data = data, priority = plan.priority,
      expires_in = plan.expires_in, options = plan.options, born = SCHEDULED, schedule = name }
    identify(run, now, made)
  end
  return made
end

local function add(id, event, data, more, verdicts)
  local entry = more == '' and {} or cjson.decode(more)
  local made, status, serial = {}, SCHEDULED, nil
  if entry.plan then
    made = register(id, event, data, entry)
  else
    entry.id, entry.event, entry.data = id, event, data
    status, id, serial = admit(entry, made)
  end
  verdicts[#verdicts + 1] = status .. ' ' .. int(#made / 4) .. ' ' .. int(serial or 0) .. ' ' .. id
  extend(verdicts, made)
end

local verdicts = { 0 }
line_of('0')
for place, key in ipairs(keys) do
  local at = 6 + width * (place - 1)
  local id, event, data, more = ARGV[at], ARGV[at + 1], ARGV[at + 2], width == 4 and ARGV[at + 3] or ''
  if more == '' and not call('HGET', key, 'state') then
    add_plain(key, id, event, data)
    index(emissions, id)
    verdicts[#verdicts + 1] = emissions
  else
    add(id, event, data, more, verdicts)
  end
end

save()
answer = head('')
answer[#answer + 1] = #facts / 4
extend(answer, facts)
extend(answer, verdicts)
return remember(ARGV[3], ARGV[4], answer)
