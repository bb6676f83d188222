-- schedules: the queue's timetable.
--
-- Answer now, then three a schedule: its name, its fields, how many of its jobs are live.
-- Needs  nothing more

local answer = { NOW }
for _, name in ipairs(call('ZRANGE', SCHEDULES, 0, -1)) do
  append(answer, name, call('HGETALL', SCHEDULE .. name), call('HGET', LIVE, name) or '0')
end
return answer
