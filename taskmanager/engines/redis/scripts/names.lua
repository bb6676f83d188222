-- names: whether the queue holds a job, a schedule or a pause.
--
-- Answer now, 1 or 0
-- Needs  nothing more

return { NOW, (paused or call('XLEN', INDEX) > 0 or call('ZCARD', SCHEDULES) > 0) and 1 or 0 }
