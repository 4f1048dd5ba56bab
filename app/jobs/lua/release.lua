-- ARGV: key, token. Gives up a reservation or the lease, if it is still this one's.
if redis.call('GET', ARGV[1]) == ARGV[2] then
  return redis.call('DEL', ARGV[1])
end
return 0
