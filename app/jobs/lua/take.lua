-- ARGV: milliseconds for which arq's mark lives. Marks the first task that is due and that nobody works on as arq does,
-- and returns it and its score; {} where there is none. arq itself asks for each entry in turn, three round trips for
-- every one that another worker has in hand.
local time, from = whole(now()), 0
while true do
  local page = redis.call('ZRANGEBYSCORE', K.queue, '-inf', time, 'WITHSCORES', 'LIMIT', from, 100)
  for index = 1, #page, 2 do
    if redis.call('SET', K.arq_in_progress .. page[index], '1', 'NX', 'PX', ARGV[1]) then
      return {page[index], page[index + 1]}
    end
  end
  if #page == 0 then
    return {}
  end
  from = from + 100
end
