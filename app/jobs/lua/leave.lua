-- ARGV: task. A worker ends with a task without having done it (cancelled, or it stops): others may take it.
redis.call('HDEL', K.running, ARGV[1])
return 1
