-- ARGV: id, fields of the record (JSON object of strings), Idempotency-Key's key or '', token of its reservation,
--       fingerprint, cache key to answer from or '', most unfinished jobs of the owner or '', most bytes stored or ''.
-- Returns {outcome, id}: 'made', 'same' (the Idempotency-Key's job), 'answered' (from a finished result),
--         'receiving' (another request with the key is), 'conflict' (the key belongs to another picture),
--         'busy' (the owner has as many unfinished jobs as it may), 'full' (as many bytes).
local id, key, token, fingerprint, cached = ARGV[1], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local most_jobs, most_bytes = tonumber(ARGV[7]), tonumber(ARGV[8])
if redis.call('EXISTS', K.job .. id) == 1 then
  return {'made', id}
end
local fields = cjson.decode(ARGV[2])
if key ~= '' then
  local present = redis.call('GET', key)
  if present and present ~= token then
    if string.sub(present, 1, 1) ~= '{' then
      return {'receiving', ''}
    end
    local made = cjson.decode(present)
    if redis.call('EXISTS', K.job .. made.job) == 1 then
      return {made.fingerprint == fingerprint and 'same' or 'conflict', made.job}
    end
  end
end

local time = now()
local other = cached ~= '' and redis.call('GET', cached)
local found = other and redis.call('HMGET', K.job .. other, 'state', 'home', 'result', 'notices', 'total', 'tiles')
if found and found[1] ~= 'succeeded' then
  found = nil
end
local bytes = found and size_of(found[3], found[6]) or tonumber(fields.source_bytes)
if most_bytes and bytes + stored_by(fields.owner, time) > most_bytes then
  return {'full', ''}
end
if most_jobs and not found and redis.call('SCARD', K.unfinished .. fields.owner) >= most_jobs then
  return {'busy', ''}
end

local record = {'state', 'queued', 'version', '1', 'epoch', '1', 'created', whole(time), 'home', id}
for name, value in pairs(fields) do
  record[#record + 1] = name
  record[#record + 1] = value
end
redis.call('HSET', K.job .. id, unpack(record))
redis.call('ZADD', K.all, whole(time), id)
redis.call('ZADD', K.owner .. fields.owner, whole(time), id)
if key ~= '' then
  -- Kept as long as the job can be; a job that is gone frees its key, see above.
  redis.call('SET', key, cjson.encode({fingerprint = fingerprint, job = id}), 'PX', C.record_life_ms)
end

if found then
  redis.call('HSET', K.job .. id, 'home', found[2], 'result', found[3], 'notices', found[4] or '[]',
    'total', found[5] or '0', 'done', found[5] or '0', 'tiles', found[6] or '', 'cached', '1')
  redis.call('SADD', K.home .. found[2], id)
  keep(id, bytes)
  redis.call('ZADD', K.graves, whole(time), id) -- what was stored for this one
  finish(id, 'succeeded')
  return {'answered', id}
end
redis.call('SADD', K.home .. id, id)
keep(id, bytes)
start(id)
return {'made', id}
