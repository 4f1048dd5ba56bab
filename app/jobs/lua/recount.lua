-- ARGV: owner. Counts anew what its jobs store and which are not finished. The numbers are right as long as nothing but
-- our scripts writes them; this is for servers that were restored from a copy, and for people with redis-cli.
-- Returns the bytes by which the count was wrong.
local owner = ARGV[1]
if redis.call('ZCARD', K.owner .. owner) > C.most_recounted then
  return 0 -- it would hold up everybody for too long
end
local bytes, unfinished = 0, {}
for _, id in ipairs(redis.call('ZRANGE', K.owner .. owner, 0, -1)) do
  local fields = read(id, 'state', 'stored')
  bytes = bytes + tonumber(fields[2] or '0')
  if RANK[fields[1]] then
    unfinished[id] = true
  end
end
for _, id in ipairs(redis.call('SMEMBERS', K.unfinished .. owner)) do
  if not unfinished[id] then
    redis.call('SREM', K.unfinished .. owner, id)
  end
end
for id in pairs(unfinished) do
  redis.call('SADD', K.unfinished .. owner, id)
end
local wrong = bytes - tonumber(redis.call('GET', K.stored .. owner) or '0')
if wrong ~= 0 then
  redis.call('SET', K.stored .. owner, whole(bytes))
end
return wrong
