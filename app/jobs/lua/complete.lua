-- ARGV: task, what came of it (JSON). Returns 1 for the run whose work counts, 2 where besides nobody needs any more
-- what the task read, 0 for every other run.
-- JSON by kind: prepare {plan, units, cost, assemble_cost, tiles_cost where there will be tiles} or, for a picture done
--               at once, {result}; strip {}; assemble and pack {result}; tiles {tiles};
--               any of them {speed: {name, value}}, {notices}.
local task, outcome = ARGV[1], cjson.decode(ARGV[2])
local parts = parse(task)
local id, h = parts.id, K.job .. parts.id
redis.call('HDEL', K.running, task)

-- Result and tiles of a picture are made beside each other.
local function both_made()
  local fields = read(id, 'tiles_cost:' .. parts.picture, 'result:' .. parts.picture, 'tiles:' .. parts.picture)
  return fields[2] and (fields[3] or not fields[1])
end

-- The same run once more, because the answer was lost: its file, which bears a name of its own, counts already, and
-- whoever is told otherwise removes it.
for _, made in ipairs({'result', 'tiles'}) do
  local field = parts.kind == 'pack' and made or made .. ':' .. parts.picture
  if outcome[made] and redis.call('HGET', h, field) == outcome[made] then
    return (parts.kind == 'pack' or both_made()) and 2 or 1
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

local function keep_made(name)
  redis.call('HSET', h, name .. ':' .. parts.picture, outcome[name])
end

local function picture_done()
  local fields = read(id, 'batch', 'result:' .. parts.picture, 'tiles:' .. parts.picture)
  if fields[1] == '0' then
    if fields[3] then
      redis.call('HSET', h, 'tiles', fields[3])
    end
    succeed(fields[2])
    return
  end
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
    keep_made('result')
    picture_done()
  else
    redis.call('HINCRBY', h, 'total', outcome.units)
    redis.call('HSET', h, 'plan:' .. parts.picture, outcome.plan, 'left:' .. parts.picture, outcome.units,
      'assemble_cost:' .. parts.picture, outcome.assemble_cost)
    if outcome.tiles_cost then
      redis.call('HSET', h, 'tiles_cost:' .. parts.picture, outcome.tiles_cost)
    end
    forward(id, 'running')
    for unit = 0, outcome.units - 1 do
      enqueue(id, 'strip', parts.picture, unit, outcome.cost)
    end
    changed(id)
  end
elseif parts.kind == 'strip' then
  redis.call('HINCRBY', h, 'done', 1)
  if redis.call('HINCRBY', h, 'left:' .. parts.picture, -1) == 0 then
    local costs = read(id, 'assemble_cost:' .. parts.picture, 'tiles_cost:' .. parts.picture)
    enqueue(id, 'assemble', parts.picture, 0, tonumber(costs[1]))
    if costs[2] then
      enqueue(id, 'tiles', parts.picture, 0, tonumber(costs[2]))
    end
  end
  if all_strips_done() then
    forward(id, 'assembling')
  end
  changed(id)
elseif parts.kind == 'pack' then
  succeed(outcome.result)
  return 2
else
  keep_made(parts.kind == 'tiles' and 'tiles' or 'result')
  if both_made() then
    picture_done()
    return 2
  end
end
return 1
