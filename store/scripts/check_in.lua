#!lua flags=allow-oom
-- Say that a worker is alive, and learn who else is.
--
-- KEYS[1]   meta of `larder`
-- ARGV[1]   worker; empty to ask only
-- ARGV[2]   ms after which a worker that was not heard of counts as gone
-- returns   the workers that are alive, in any order

local workers, ms = key('workers'), tonumber(now())
if ARGV[1] ~= '' then
  redis.call('ZADD', workers, ms, ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', workers, '-inf', '(' .. string.format('%.0f', ms - tonumber(ARGV[2])))
return redis.call('ZRANGE', workers, 0, -1)
