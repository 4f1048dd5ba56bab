-- ARGV: Idempotency-Key's key, token, milliseconds. Reserves the key for the request that receives its picture, or
-- keeps the reservation. Returns '' where it is reserved, 'receiving', or the JSON of the job that it made.
local present = redis.call('GET', ARGV[1])
if present and string.sub(present, 1, 1) == '{' then
  if redis.call('EXISTS', K.job .. cjson.decode(present).job) == 1 then
    return present
  end
  present = false
end
if present and present ~= ARGV[2] then
  return 'receiving'
end
redis.call('SET', ARGV[1], ARGV[2], 'PX', ARGV[3])
return ''
