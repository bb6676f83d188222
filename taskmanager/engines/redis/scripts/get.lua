-- get: one job, the follow-up recorded with it, or an awaited outcome that outlived it.
--
-- ARGV   3 id   4 serial or ''
-- Answer now, '' or 'job' or 'next' or 'outcome', the fields (of the job, the follow-up or the outcome), the fields of
--        the job's own follow-up; for 'next' the losses of the job it belongs to.
-- Needs  nothing more

local id, serial = ARGV[3], ARGV[4]
local f = call('HMGET', JOB .. id, 'serial', 'next', 'losses')
if f[1] and (serial == '' or serial == f[1]) then
  return { NOW, 'job', call('HGETALL', JOB .. id), f[2] and call('HGETALL', NEXT .. id) or {} }
end
if f[2] and f[2] == serial then return { NOW, 'next', call('HGETALL', NEXT .. id), f[3] or '0' } end
local ends_at = serial ~= '' and call('ZSCORE', OUTCOMES, serial)
if ends_at and tonumber(ends_at) > now and call('HGET', OUTCOME .. serial, 'id') == id then
  return { NOW, 'outcome', call('HGETALL', OUTCOME .. serial), {} }
end
return { NOW, '' }
