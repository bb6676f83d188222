-- list: newest emission first. A state of few jobs is gathered and sorted; else the index of all jobs is walked, one
-- look a call.
--
-- ARGV   3 state or '' (any)   4 limit   5 below this emission number, or ''
-- Answer now, the emission number at which to look on or '', then three a job: id, its fields, those of its follow-up.
-- Cost   at most DUE_LIMIT jobs are looked at.
-- Needs  places standing

local wanted, limit, below = ARGV[3], tonumber(ARGV[4]), ARGV[5]
local answer = { NOW, '' }

local function add(id)
  append(answer, id, call('HGETALL', JOB .. id), call('HGETALL', NEXT .. id))
end

local function gather()
  local found = {}
  for _, id in ipairs(standing(wanted, DUE_LIMIT)) do
    local f = call('HMGET', JOB .. id, 'serial', 'emission')
    local emission = tonumber(f[2] or f[1])
    if emission and (below == '' or emission < tonumber(below)) then
      found[#found + 1] = { id = id, emission = emission }
    end
  end
  table.sort(found, function(one, other) return one.emission > other.emission end)
  for place, one in ipairs(found) do
    if place > limit then break end
    add(one.id)
  end
end

local function walk()
  local from = below == '' and '+' or '(' .. below .. '-0'
  local found = 0
  for _, entry in ipairs(call('XREVRANGE', INDEX, from, '-', 'COUNT', DUE_LIMIT)) do
    local id, emission = entry[2][2], string.match(entry[1], '^%d+')
    local f = call('HMGET', JOB .. id, 'state', 'serial', 'emission', 'run_at')
    local state = f[1]
    if state == DELAYED and tonumber(f[4]) <= now then state = WAITING end
    -- The emission may be a follow-up's, which is no job yet.
    if (f[3] or f[2]) == emission and (wanted == '' or state == wanted) then
      add(id)
      found = found + 1
      if found == limit then return end
    end
    answer[2] = emission
  end
end

if limit > 0 then
  if wanted ~= '' and populations()[wanted] <= DUE_LIMIT then gather() else walk() end
end
return answer
