-- The memory of each caller's last call, for the verbs that carry a batch. Kept REPLAY_MS of engine time.

local function forget_answers()
  local old = call('ZRANGEBYSCORE', CALLS, '-inf', int(now - REPLAY_MS), 'LIMIT', 0, 100)
  for _, caller in ipairs(old) do
    call('ZREM', CALLS, caller)
    call('HDEL', ANSWERS, caller)
  end
end

-- The stored answer where this is the caller's last call again, or a refusal; nil for a new call.
local function replayed(caller, number)
  local past = call('HGET', ANSWERS, caller)
  if not past then return nil end
  local last, at, answer = string.match(past, '^(%d+) (%d+) (.*)$')
  if tonumber(at) + REPLAY_MS <= now or tonumber(number) > tonumber(last) then return nil end
  if tonumber(number) < tonumber(last) then return { 'BACKWARDS', last } end
  answer = cjson.decode(answer)
  answer[7] = 1
  return answer
end

local function remember(caller, number, answer)
  forget_answers()
  call('ZADD', CALLS, NOW, caller)
  call('HSET', ANSWERS, caller, number .. ' ' .. NOW .. ' ' .. cjson.encode(answer))
  return answer
end
