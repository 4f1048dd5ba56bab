-- ARGV: task, code, detail. Its job cannot be done. Returns 1 where this ended it.
local parts = parse(ARGV[1])
redis.call('HDEL', K.running, ARGV[1])
if not is_wanted(parts) then
  return 0
end
fail(parts.id, ARGV[2], ARGV[3])
return 1
