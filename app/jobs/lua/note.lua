-- ARGV: task, part of the assembly that is done, 0..1. A worker tells how far it is.
local parts = parse(ARGV[1])
if is_wanted(parts) then
  redis.call('HSET', K.job .. parts.id, 'assembled', ARGV[2])
  changed(parts.id)
end
