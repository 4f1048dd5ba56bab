-- ARGV: job. Begins a failed job again, in a new epoch. Returns '' for an unknown job, else the state it had.
local id = ARGV[1]
local fields = read(id, 'state', 'pictures')
local state = fields[1]
if state ~= 'failed' then
  return state or ''
end
local h = K.job .. id
for _, name in ipairs(redis.call('HKEYS', h)) do
  if string.match(name, '^tries:') or string.match(name, '^deaths:') or string.match(name, '^left:')
      or string.match(name, '^result:') or string.match(name, '^assemble_cost:')
      or string.match(name, '^tiles:') or string.match(name, '^tiles_cost:')
      or string.match(name, '^plan:') then
    redis.call('HDEL', h, name)
  end
end
redis.call('HDEL', h, 'started', 'finished', 'expires', 'error', 'notices', 'assembled')
redis.call('HINCRBY', h, 'epoch', 1)
redis.call('HSET', h, 'state', 'queued', 'done', '0', 'total', '0', 'unprepared', fields[2],
  'pictures_left', fields[2])
redis.call('DEL', K.units .. id)
redis.call('ZREM', K.expiry, id)
start(id)
changed(id)
return state
