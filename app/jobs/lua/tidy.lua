-- ARGV: most entries to look at. Puts deferred tasks whose time has come back into the fair order, and takes tasks
-- out of the queue that no job has any more. Returns {put back, taken out}.
local most = tonumber(ARGV[1])
local back, out = 0, 0
local due = redis.call('ZRANGEBYSCORE', K.queue, whole(C.virtual_end), whole(now()), 'LIMIT', 0, most)
for _, task in ipairs(due) do
  local score = redis.call('HGET', K.tasks .. parse(task).id, task)
  if score then
    redis.call('ZADD', K.queue, score, task)
    back = back + 1
  end
end
for _, task in ipairs(redis.call('ZRANGE', K.queue, 0, most - 1)) do
  if redis.call('HEXISTS', K.tasks .. parse(task).id, task) == 0
      and redis.call('HEXISTS', K.running, task) == 0 then
    unqueue(task)
    out = out + 1
  end
end
return {back, out}
