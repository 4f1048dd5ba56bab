-- ARGV: milliseconds. Frees the tasks of workers without a heartbeat for that long. Returns for each of the tasks
-- worker, task, and deaths it has seen in a row.
local told = {}
local dead = redis.call('ZRANGEBYSCORE', K.workers, '-inf', whole(now() - tonumber(ARGV[1])))
if #dead == 0 then
  return told
end
local gone = {}
for _, worker in ipairs(dead) do
  gone[worker] = true
  redis.call('ZREM', K.workers, worker)
  redis.call('DEL', K.worker .. worker)
end
local running = redis.call('HGETALL', K.running)
for index = 1, #running, 2 do
  local task, worker = running[index], running[index + 1]
  if gone[worker] then
    local parts = parse(task)
    redis.call('HDEL', K.running, task)
    redis.call('DEL', K.arq_in_progress .. task)
    local deaths = 0
    if is_wanted(parts) then
      deaths = redis.call('HINCRBY', K.job .. parts.id, 'deaths:' .. parts.name, 1)
      if deaths >= C.most_deaths then
        fail(parts.id, 'set_aside', C.set_aside)
      end
    end
    told[#told + 1] = {worker, task, deaths}
  end
end
return told
