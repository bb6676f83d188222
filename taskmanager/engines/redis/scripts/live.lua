-- live: whether a job has still to end.
--
-- ARGV   3 id   4 serial or ''
-- Answer now, its serial, or the serial of the follow-up that is meant; '' where it lives no more.
-- Needs  index places

local job = fetch(ARGV[3])
if not job then return { NOW, '' } end
if ARGV[4] == '' or tonumber(ARGV[4]) == job.serial then
  return (job.state == WAITING or job.state == DELAYED or job.state == ACTIVE) and { NOW, int(job.serial) } or { NOW, '' }
end
return { NOW, job.next == ARGV[4] and ARGV[4] or '' }
