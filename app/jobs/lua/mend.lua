-- ARGV: milliseconds, job. Repairs what a crash between two writes of a worker or of arq can have left: tasks that
-- are in no queue, and tasks that are marked as running and nobody runs. Returns how many were repaired.
local patience, id = tonumber(ARGV[1]), ARGV[2]
local time, repaired = now(), 0
for _, task in ipairs(redis.call('HKEYS', K.tasks .. id)) do
  local worker = redis.call('HGET', K.running, task)
  if worker and not redis.call('ZSCORE', K.workers, worker) then
    redis.call('HDEL', K.running, task)
    worker = false
  end
  if worker then
    redis.call('HDEL', K.suspects, task)
  elseif redis.call('ZSCORE', K.queue, task) == false or redis.call('EXISTS', K.arq_job .. task) == 0 then
    put(id, task, redis.call('HGET', K.tasks .. id, task), time)
    redis.call('DEL', K.arq_in_progress .. task)
    repaired = repaired + 1
  elseif redis.call('EXISTS', K.arq_in_progress .. task) == 1 then
    redis.call('HSETNX', K.suspects, task, whole(time))
    if time - tonumber(redis.call('HGET', K.suspects, task)) >= patience then
      redis.call('DEL', K.arq_in_progress .. task)
      redis.call('HDEL', K.suspects, task)
      repaired = repaired + 1
    end
  else
    redis.call('HDEL', K.suspects, task)
  end
end
return repaired
