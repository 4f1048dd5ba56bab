-- ARGV: task, most tries, code, detail. The task failed in a way that may pass: it is tried
-- again, or its job fails with code and detail. Returns 1 where it is tried again.
local task, most = ARGV[1], tonumber(ARGV[2])
local parts = parse(task)
redis.call('HDEL', K.running, task)
if not is_wanted(parts) or redis.call('HEXISTS', K.tasks .. parts.id, task) == 0 then
  return 0
end
if redis.call('HINCRBY', K.job .. parts.id, 'tries:' .. parts.name, 1) >= most then
  fail(parts.id, ARGV[3], ARGV[4])
  return 0
end
return 1
