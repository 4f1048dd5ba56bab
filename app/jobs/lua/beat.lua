-- ARGV: worker, what it tells about itself, then its tasks. A heartbeat. Returns those of the tasks that nobody
-- wants any more.
local worker = ARGV[1]
local was_known = redis.call('ZSCORE', K.workers, worker)
redis.call('ZADD', K.workers, whole(now()), worker)
redis.call('SET', K.worker .. worker, ARGV[2], 'PX', C.worker_life_ms)
local unwanted = {}
for index = 3, #ARGV do
  local task = ARGV[index]
  local parts = parse(task)
  if not is_wanted(parts) then
    unwanted[#unwanted + 1] = task
  elseif not was_known then
    -- It was taken for dead and was only slow: that is not the picture's fault.
    local field = 'deaths:' .. parts.name
    local deaths = tonumber(redis.call('HGET', K.job .. parts.id, field) or '0')
    if deaths > 0 then
      redis.call('HINCRBY', K.job .. parts.id, field, -1)
      redis.call('ZREM', K.deaths, task .. ' ' .. deaths)
    end
  end
end
return unwanted
