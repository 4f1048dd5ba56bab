-- ARGV: worker. It stops in good order. It may hold a task nevertheless: one whose beginning was cut off before it
-- had the answer. Others may take that one, and a folder that waits for its end waits no longer.
local worker = ARGV[1]
redis.call('ZREM', K.workers, worker)
redis.call('DEL', K.worker .. worker)
local running = redis.call('HGETALL', K.running)
for index = 1, #running, 2 do
  if running[index + 1] == worker then
    redis.call('HDEL', K.running, running[index])
    redis.call('DEL', K.arq_in_progress .. running[index])
  end
end
return 1
