#!lua flags=allow-oom
-- Take a worker off the list of those that are alive.
--
-- KEYS[1]   meta of `larder`
-- ARGV[1]   worker
-- returns   1 if it was there, else 0

return redis.call('ZREM', key('workers'), ARGV[1])
