-- ARGV: most jobs to look at. Jobs whose time has come lose their files, and a day later their record.
-- Returns the jobs that lost their files.
local expired = {}
local time = now()
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.expiry, '-inf', whole(time), 'LIMIT', 0, tonumber(ARGV[1]))) do
  local state = read(id, 'state')[1]
  if not state or state == 'expired' then
    forget(id)
  else
    redis.call('HSET', K.job .. id, 'state', 'expired', 'ended', state)
    leave_home(id)
    redis.call('ZADD', K.expiry, whole(time + C.tombstone_ms), id)
    expired[#expired + 1] = id
    changed(id)
  end
end
return expired
