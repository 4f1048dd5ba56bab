-- ARGV: worker. It stops in good order. It may hold a task nevertheless: one whose beginning was cut off before it
-- had the answer. A folder that waits for the end of that one waits no longer.
dismiss({[ARGV[1]] = true})
return 1
