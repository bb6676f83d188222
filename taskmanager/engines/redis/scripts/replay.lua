-- The memory of each caller's last call, for the verbs that carry a batch. Kept REPLAY_MS of engine time.

-- The stored answer where this is the caller's last call again, or a refusal; nil for a new call.
local has_called
local function replayed(caller, number)
  local past = call('HGET', ANSWERS, caller)
  has_called = past
  if not past then return nil end
  local last, at, answer = string.match(past, '^(%d+) (%d+) (.*)$')
  if tonumber(at) + REPLAY_MS <= now or tonumber(number) > tonumber(last) then return nil end
  if tonumber(number) < tonumber(last) then return { 'BACKWARDS', last } end
  answer = cjson.decode(answer)
  answer[7] = 1
  return answer
end

local function remember(caller, number, answer)
  if not has_called then call('ZADD', CALLS, NOW, caller) end
  call('HSET', ANSWERS, caller, number .. ' ' .. NOW .. ' ' .. cjson.encode(answer))
  return answer
end

-- CALLS has each caller under a moment at which it was known to call: whoever has called since is put forward.
local function forget_answers()
  local expired = now - REPLAY_MS
  for _, caller in ipairs(call('ZRANGEBYSCORE', CALLS, '-inf', int(expired), 'LIMIT', 0, DUE_LIMIT)) do
    local at = string.match(call('HGET', ANSWERS, caller) or '', '^%d+ (%d+)')
    if at and tonumber(at) > expired then
      call('ZADD', CALLS, at, caller)
    else
      call('ZREM', CALLS, caller)
      call('HDEL', ANSWERS, caller)
    end
  end
end
