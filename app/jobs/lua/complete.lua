-- ARGV: task, what came of it (JSON). Returns 1 for the run whose work counts, 0 for every other.
-- JSON by kind: prepare {plan, units, cost, assemble_cost} or, for a picture done at once, {result};
--               strip {}; assemble and pack {result}; any of them {speed: {name, value}}, {notices}, {tiles}.
local task, outcome = ARGV[1], cjson.decode(ARGV[2])
local parts = parse(task)
local id, h = parts.id, K.job .. parts.id
redis.call('HDEL', K.running, task)
-- The same run once more, because the answer was lost: its result, which bears a name of its own, counts already, and
-- whoever is told otherwise removes it.
if outcome.result then
  local whole_job = parts.kind == 'pack' or read(id, 'batch')[1] == '0'
  if redis.call('HGET', h, whole_job and 'result' or 'result:' .. parts.picture) == outcome.result then
    return 1
  end
end
if not is_wanted(parts) then
  return 0
end
unqueue(task) -- arq will do it once more; a worker that dies before that leaves nothing
redis.call('HDEL', K.tasks .. id, task)
if redis.call('SADD', K.units .. id, parts.name) == 0 then
  return 0
end
redis.call('HDEL', h, 'tries:' .. parts.name, 'deaths:' .. parts.name)
if outcome.speed then
  local present = redis.call('HGET', K.speed, outcome.speed.name)
  local value = outcome.speed.value
  if present then
    value = tonumber(present) + 0.3 * (value - tonumber(present))
  end
  redis.call('HSET', K.speed, outcome.speed.name, string.format('%.6g', value))
end
if outcome.notices then
  redis.call('HSET', h, 'notices', outcome.notices)
end
if outcome.tiles then
  redis.call('HSET', h, 'tiles', outcome.tiles)
end

local function all_strips_done()
  local fields = read(id, 'unprepared', 'done', 'total')
  return fields[1] == '0' and fields[2] == fields[3]
end

local function succeed(result)
  redis.call('HSET', h, 'result', result)
  local fields = read(id, 'cache', 'cache_ttl', 'source_bytes', 'tiles')
  keep(id, tonumber(fields[3] or '0') + size_of(result, fields[4]))
  finish(id, 'succeeded')
  if fields[1] and fields[1] ~= '' and fields[2] ~= '0' then
    redis.call('SET', fields[1], id, 'PX', fields[2])
  end
end

local function picture_done(result)
  if read(id, 'batch')[1] == '0' then
    succeed(result)
    return
  end
  redis.call('HSET', h, 'result:' .. parts.picture, result)
  if redis.call('HINCRBY', h, 'pictures_left', -1) == 0 then
    forward(id, 'assembling')
    enqueue(id, 'pack', 0, 0, tonumber(read(id, 'pack_cost')[1] or '1'))
  end
  changed(id)
end

if parts.kind == 'prepare' then
  redis.call('HINCRBY', h, 'unprepared', -1)
  if outcome.result then
    redis.call('HINCRBY', h, 'total', 1)
    redis.call('HINCRBY', h, 'done', 1)
    picture_done(outcome.result)
  else
    redis.call('HINCRBY', h, 'total', outcome.units)
    redis.call('HSET', h, 'plan:' .. parts.picture, outcome.plan, 'left:' .. parts.picture, outcome.units,
      'assemble_cost:' .. parts.picture, outcome.assemble_cost)
    forward(id, 'running')
    for unit = 0, outcome.units - 1 do
      enqueue(id, 'strip', parts.picture, unit, outcome.cost)
    end
    changed(id)
  end
elseif parts.kind == 'strip' then
  redis.call('HINCRBY', h, 'done', 1)
  if redis.call('HINCRBY', h, 'left:' .. parts.picture, -1) == 0 then
    enqueue(id, 'assemble', parts.picture, 0, tonumber(read(id, 'assemble_cost:' .. parts.picture)[1]))
  end
  if all_strips_done() then
    forward(id, 'assembling')
  end
  changed(id)
elseif parts.kind == 'assemble' then
  picture_done(outcome.result)
else
  succeed(outcome.result)
end
return 1
