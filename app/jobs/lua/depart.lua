-- ARGV: worker. It stops in good order and holds no task.
redis.call('ZREM', K.workers, ARGV[1])
redis.call('DEL', K.worker .. ARGV[1])
return 1
