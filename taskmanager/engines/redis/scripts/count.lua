-- count: the queue at a glance.
--
-- Answer now, six numbers (waiting, delayed, active, completed, failed, cancelled), paused, due_at, schedule_at, lease_at.
-- Needs  index places standing

local number = populations()
return { NOW, number[WAITING], number[DELAYED], number[ACTIVE], number[COMPLETED], number[FAILED], number[CANCELLED],
  paused and 1 or 0, first_due() or false, schedule_at or false,
  call('ZRANGE', LEASES, 0, 0, 'WITHSCORES')[2] or false }
