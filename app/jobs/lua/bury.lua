-- ARGV: milliseconds. Frees the tasks of workers without a heartbeat for that long. Returns for each of the tasks
-- worker, task, and deaths it has seen in a row.
local told = {}
local time = now()
local dead = redis.call('ZRANGEBYSCORE', K.workers, '-inf', whole(time - tonumber(ARGV[1])))
if #dead == 0 then
  return told
end
redis.call('ZREMRANGEBYSCORE', K.deaths, '-inf', whole(time - C.deaths_remembered_ms))
local gone = {}
for _, worker in ipairs(dead) do
  gone[worker] = true
end

local function deaths_of_others(id)
  local count = 0
  for _, death in ipairs(redis.call('ZRANGE', K.deaths, 0, -1)) do
    if parse(string.match(death, '^%S+')).id ~= id then
      count = count + 1
    end
  end
  return count
end

-- Behind everything that waits in its class: what may have killed a worker keeps nobody waiting, and whether others
-- die as well tells whether it did.
local function put_last(parts, task)
  local stop = read(parts.id, 'priority')[1] == 'batch' and C.virtual_end or C.base.batch
  local last = redis.call('ZREVRANGEBYSCORE', K.queue, '(' .. whole(stop), '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if last[1] and last[1] ~= task then
    put(parts.id, task, string.format('%.4f', tonumber(last[2]) + 1), time)
  end
end

for _, freed in ipairs(dismiss(gone)) do
  local worker, task = freed[1], freed[2]
  local parts = parse(task)
  local deaths = 0
  if is_wanted(parts) then
    deaths = redis.call('HINCRBY', K.job .. parts.id, 'deaths:' .. parts.name, 1)
    redis.call('ZADD', K.deaths, whole(time), task .. ' ' .. deaths)
    local most = deaths_of_others(parts.id) >= deaths - 1 and C.most_deaths_among_others or C.most_deaths
    if deaths >= most then
      fail(parts.id, 'set_aside', C.set_aside)
    else
      put_last(parts, task)
    end
  end
  told[#told + 1] = {worker, task, deaths}
end
return told
