-- What all scripts share. Above this file stand K (the keys of app/jobs/keys.py) and C (constants).
-- Every script is one transaction, and every one may be run twice: a client that lost the answer sends it again.

-- Effects of scripts are replicated, so the server's clock may be asked.
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

-- A job's state only ever goes up this list, or from it to one of the final states, and stays there. Only the
-- operator's retry begins again, in a new epoch, and work of an older epoch is never taken.
local RANK = {queued = 0, preparing = 1, running = 2, assembling = 3}

local function read(id, ...)
  return redis.call('HMGET', K.job .. id, ...)
end

-- Tells whoever watches the job that its document changed.
local function changed(id)
  local version = redis.call('HINCRBY', K.job .. id, 'version', 1)
  redis.call('PUBLISH', K.changes, id .. ' ' .. version)
end

local function forward(id, state)
  local present = read(id, 'state')[1]
  if RANK[present] and RANK[present] < RANK[state] then
    redis.call('HSET', K.job .. id, 'state', state)
    return true
  end
  return false
end

-- 'JOB.EPOCH.KIND.PICTURE.UNIT'
local function parse(task)
  local id, epoch, kind, picture, unit = string.match(task, '^(.+)%.(%d+)%.(%a+)%.(%d+)%.(%d+)$')
  return {id = id, epoch = epoch, kind = kind, picture = picture, unit = unit,
          name = kind .. '.' .. picture .. '.' .. unit}
end

local function is_wanted(parts)
  local fields = read(parts.id, 'state', 'epoch')
  return RANK[fields[1]] ~= nil and fields[2] == parts.epoch
end

-- The fields that arq 0.28 reads, in the form of app.jobs.queue.serialize.
local function put(id, task, score, time)
  local message = string.format('{"t":null,"f":"task","a":[],"k":{"v":%d,"task":"%s"},"et":%s}',
    C.message_version, task, whole(time))
  redis.call('SET', K.arq_job .. task, message, 'PX', C.task_life_ms)
  redis.call('ZADD', K.queue, score, task)
  redis.call('HSET', K.tasks .. id, task, score)
end

-- Fair order: each task is stamped with the virtual time at which it would end if all jobs advanced at the same
-- speed; the clock is the stamp of the task begun last. A job of 1,000 strips thus stands in line once per strip.
-- Stamps of the interactive class lie below those of the batch class, and both below any real time, because arq
-- takes a score in the future for a task that is deferred.
local function enqueue(id, kind, picture, unit, cost)
  local fields = read(id, 'priority', 'tag', 'epoch')
  local clock = tonumber(redis.call('HGET', K.clock, fields[1]) or '0')
  local tag = math.max(clock, tonumber(fields[2] or '0')) + math.max(1, cost)
  redis.call('HSET', K.job .. id, 'tag', whole(tag))
  local task = table.concat({id, fields[3], kind, picture, unit}, '.')
  -- Behind the point the order of arrival, for equal stamps.
  local arrival = redis.call('HINCRBY', K.clock, 'arrivals', 1) % 4096
  local score = string.format('%.4f', C.base[fields[1]] + tag + arrival / 4096)
  put(id, task, score, now())
  return score
end

local function unqueue(task)
  redis.call('ZREM', K.queue, task)
  redis.call('DEL', K.arq_job .. task, K.arq_in_progress .. task, K.arq_retry .. task)
  redis.call('HDEL', K.suspects, task)
end

-- Writes a webhook event where the job wants one; sent by the janitor, at least once.
local function tell(id, event)
  local fields = read(id, 'webhook', 'epoch')
  if fields[1] and fields[1] ~= '' then
    redis.call('RPUSH', K.outbox, cjson.encode({
      id = 'msg_' .. id .. '_' .. fields[2] .. '_' .. event, job = id, event = event, at = now()}))
  end
end

-- Sets what lies in one job's folder, for the sum of all. Files that several jobs share count once, and until the last.
local function fill_home(home, bytes)
  local before = tonumber(redis.call('HGET', K.homes, home) or '0')
  if bytes > 0 then
    redis.call('HSET', K.homes, home, whole(bytes))
  else
    redis.call('HDEL', K.homes, home)
  end
  if redis.call('INCRBY', K.total, whole(bytes - before)) <= 0 then
    redis.call('DEL', K.total)
  end
end

-- Sets what lies in storage for a job, and counts it against its owner. Nothing else writes either number.
local function keep(id, bytes)
  local fields = read(id, 'owner', 'stored', 'home')
  if bytes > 0 and fields[3] == id then
    fill_home(id, bytes)
  end
  if not fields[1] or fields[1] == '' then
    return
  end
  redis.call('HSET', K.job .. id, 'stored', whole(bytes))
  redis.call('INCRBY', K.stored .. fields[1], whole(bytes - tonumber(fields[2] or '0')))
end

-- Bytes that lie in storage for an owner, those of places for uploads among them.
local function stored_by(owner, time)
  local bytes = tonumber(redis.call('GET', K.stored .. owner) or '0')
  for _, entry in ipairs(redis.call('HVALS', K.uploaded .. owner)) do
    local size, expiry = string.match(entry, '(%d+):(%d+)')
    if tonumber(expiry) * 1000 > time then
      bytes = bytes + tonumber(size)
    end
  end
  return bytes
end

-- What a result takes, with its tiles.
local function size_of(result, tiles)
  local bytes = cjson.decode(result).bytes
  if tiles and tiles ~= '' then
    tiles = cjson.decode(tiles)
    bytes = bytes + tiles.pyramid.bytes + tiles.before.bytes
  end
  return bytes
end

-- The one way into a final state; the caller has seen that the job is in none.
local function finish(id, state)
  local time = now()
  local ttl = tonumber(read(id, 'ttl')[1])
  redis.call('HSET', K.job .. id, 'state', state, 'finished', whole(time), 'expires', whole(time + ttl))
  for _, task in ipairs(redis.call('HKEYS', K.tasks .. id)) do
    unqueue(task)
  end
  redis.call('DEL', K.tasks .. id, K.units .. id)
  redis.call('ZREM', K.active, id)
  redis.call('ZREM', K.waiting, id)
  redis.call('SREM', K.unfinished .. read(id, 'owner')[1], id)
  redis.call('ZADD', K.expiry, whole(time + ttl), id)
  tell(id, state)
  changed(id)
end

local function fail(id, code, detail)
  redis.call('HSET', K.job .. id, 'error', cjson.encode({code = code, detail = detail}))
  finish(id, 'failed')
end

-- The job no longer needs its files; they go when no other job uses them.
local function leave_home(id)
  local home = read(id, 'home')[1]
  if home then
    keep(id, 0)
    redis.call('SREM', K.home .. home, id)
    if redis.call('SCARD', K.home .. home) == 0 then
      fill_home(home, 0)
      redis.call('ZADD', K.graves, whole(now()), home)
    end
  end
end

-- Removes the record of a finished job.
local function forget(id)
  local owner = read(id, 'owner')[1]
  leave_home(id)
  redis.call('ZREM', K.owner .. (owner or ''), id)
  redis.call('ZREM', K.all, id)
  redis.call('ZREM', K.expiry, id)
  redis.call('DEL', K.job .. id, K.tasks .. id, K.units .. id)
  if owner and redis.call('ZCARD', K.owner .. owner) == 0 then
    redis.call('DEL', K.stored .. owner, K.unfinished .. owner)
  end
end

-- Queues the first tasks of a job whose record is there.
local function start(id)
  local fields = read(id, 'costs')
  local first = nil
  for picture, cost in ipairs(cjson.decode(fields[1])) do
    local score = enqueue(id, 'prepare', picture - 1, 0, cost)
    first = first or score
  end
  redis.call('ZADD', K.active, read(id, 'created')[1], id)
  redis.call('ZADD', K.waiting, first, id)
  redis.call('SADD', K.unfinished .. read(id, 'owner')[1], id)
end

-- Forgets workers, a set by name, and frees the tasks that they had begun: others may take them. Returns for each of
-- the tasks {worker, task}.
local function dismiss(workers)
  for worker in pairs(workers) do
    redis.call('ZREM', K.workers, worker)
    redis.call('DEL', K.worker .. worker)
  end
  local freed = {}
  local running = redis.call('HGETALL', K.running)
  for index = 1, #running, 2 do
    local task, worker = running[index], running[index + 1]
    if workers[worker] then
      redis.call('HDEL', K.running, task)
      redis.call('DEL', K.arq_in_progress .. task)
      freed[#freed + 1] = {worker, task}
    end
  end
  return freed
end
