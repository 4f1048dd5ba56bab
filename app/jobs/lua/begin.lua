-- ARGV: task, worker. Called by a worker before it works on a task.
-- Returns {} where nobody wants the task any more, else the job's fields and values.
local task, worker = ARGV[1], ARGV[2]
local parts = parse(task)
if not is_wanted(parts) or redis.call('SISMEMBER', K.units .. parts.id, parts.name) == 1 then
  redis.call('HDEL', K.tasks .. parts.id, task)
  return {}
end
local h = K.job .. parts.id
redis.call('HSET', K.running, task, worker)
-- Whoever has a task can be found dead, even if this arrives after it departed.
redis.call('ZADD', K.workers, 'NX', whole(now()), worker)
redis.call('HDEL', K.suspects, task)
local priority = read(parts.id, 'priority')[1]
local score = tonumber(redis.call('HGET', K.tasks .. parts.id, task) or '0')
local clock = tonumber(redis.call('HGET', K.clock, priority) or '0')
redis.call('HSET', K.clock, priority, whole(math.max(clock, score - C.base[priority])))
redis.call('HSETNX', h, 'started', whole(now()))
redis.call('ZREM', K.waiting, parts.id)
if parts.kind == 'prepare' and forward(parts.id, 'preparing') then
  changed(parts.id)
end
return redis.call('HGETALL', h)
