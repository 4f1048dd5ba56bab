-- ARGV: job, 1 to remove the record of a finished job, too. Returns '' for an unknown job, else the state it had.
local id = ARGV[1]
local state = read(id, 'state')[1]
if not state then
  return ''
end
if RANK[state] then
  finish(id, 'cancelled')
  leave_home(id)
elseif ARGV[2] == '1' then
  forget(id)
  redis.call('PUBLISH', K.changes, id .. ' 0')
end
return state
