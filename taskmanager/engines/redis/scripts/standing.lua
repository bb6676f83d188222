-- Who stands in a state: how many, and in which order.

-- How many jobs stand in each state now; an overdue one waits.
local function populations()
  local waiting, active = aside, -aside
  for _, priority in ipairs(lines) do
    local pending = redis.pcall('XPENDING', LINE .. priority, GROUP)[1] or 0 -- none where somebody deleted the group
    active = active + pending
    waiting = waiting + call('XLEN', LINE .. priority) - pending
  end
  local due = call('ZCOUNT', DELAYED_SET, '-inf', NOW)
  return {
    [WAITING] = waiting + due, [DELAYED] = call('ZCARD', DELAYED_SET) - due, [ACTIVE] = active,
    [COMPLETED] = call('XLEN', FINISHED .. COMPLETED), [FAILED] = call('XLEN', FINISHED .. FAILED),
    [CANCELLED] = call('XLEN', FINISHED .. CANCELLED),
  }
end

-- The ids of at most `limit` jobs in a state, in the order in which they stand there.
local function standing(state, limit)
  local ids = {}
  if state == WAITING then
    for _, priority in ipairs(lines) do
      local line = LINE .. priority
      for _, pending in ipairs(call('XPENDING', line, GROUP, '-', '+', limit, ASIDE)) do
        ids[#ids + 1] = call('XRANGE', line, pending[1], pending[1])[1][2][2]
      end
      local delivered = call('XINFO', 'GROUPS', line)[1][8]
      for _, entry in ipairs(call('XRANGE', line, '(' .. delivered, '+', 'COUNT', limit)) do
        ids[#ids + 1] = entry[2][2]
      end
    end
    for _, one in ipairs(call('ZRANGEBYSCORE', DELAYED_SET, '-inf', NOW, 'LIMIT', 0, limit)) do
      ids[#ids + 1] = string.sub(one, 17)
    end
  elseif state == DELAYED then
    for _, one in ipairs(call('ZRANGEBYSCORE', DELAYED_SET, '(' .. NOW, '+inf', 'LIMIT', 0, limit)) do
      ids[#ids + 1] = string.sub(one, 17)
    end
  elseif state == ACTIVE then
    for _, worker in ipairs(call('ZRANGE', LEASES, 0, -1)) do
      for _, key in ipairs({ HELD .. worker, REAPED .. worker }) do
        for _, name in ipairs(call('HVALS', key)) do ids[#ids + 1] = claimed_id(name) end
      end
    end
  else
    for _, entry in ipairs(call('XRANGE', FINISHED .. state, '-', '+', 'COUNT', limit)) do
      ids[#ids + 1] = entry[2][2]
    end
  end
  return ids
end
