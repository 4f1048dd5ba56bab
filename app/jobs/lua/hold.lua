-- ARGV: token, milliseconds. Takes or keeps the janitor's lease. Returns 1 where this process is the janitor.
local holder = redis.call('GET', K.lease)
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', K.lease, ARGV[1], 'PX', ARGV[2])
return 1
