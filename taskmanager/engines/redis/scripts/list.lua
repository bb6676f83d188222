-- list: newest emission first. A state of few jobs is gathered and sorted; else the index of all jobs is walked, one
-- look a call.
--
-- ARGV   3 state or '' (any)   4 limit   5 below this emission number, or ''
-- Answer now, the emission number at which to look on or '', then three a job: id, its fields, those of its follow-up.
-- Cost   at most DUE_LIMIT jobs are looked at.
-- Needs  index places standing

local wanted, limit, below = ARGV[3], tonumber(ARGV[4]), ARGV[5]
local answer = { NOW, '' }
local ENTRIES = 32 -- are read at a time at most, each of one job or more

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
  local found, left = 0, DUE_LIMIT

  local function look_at(emission, id)
    local f = call('HMGET', JOB .. id, 'state', 'serial', 'emission', 'run_at')
    local state = f[1]
    if state == DELAYED and tonumber(f[4]) <= now then state = WAITING end
    -- The emission may be a follow-up's, which is no job yet.
    if (f[3] or f[2]) == emission and (wanted == '' or state == wanted) then
      add(id)
      found = found + 1
    end
    answer[2] = emission
    left = left - 1
  end

  local from = below == '' and '+' or '(' .. below
  local count = math.min(limit, ENTRIES)
  repeat
    local entries = call('XREVRANGE', INDEX, from, '-', 'COUNT', count)
    for _, entry in ipairs(entries) do
      local names = entry[2]
      for at = #names - 1, 1, -2 do
        if below == '' or tonumber(names[at]) < tonumber(below) then look_at(names[at], names[at + 1]) end
        if found == limit or left == 0 then return end
      end
      from = '(' .. entry[1]
    end
  until #entries < count
end

if limit > 0 then
  if wanted ~= '' and populations()[wanted] <= DUE_LIMIT then gather() else walk() end
end
return answer
