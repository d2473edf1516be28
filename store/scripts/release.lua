#!lua flags=allow-oom
-- Give a lease back, so that another worker need not wait for its end.
--
-- KEYS[1]   meta
-- KEYS[2]   lease
-- ARGV[1]   owner
-- returns   {OK, 1 if it was held, else 0}

if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return { 'OK', 0 }
end
redis.call('DEL', KEYS[2])
return { 'OK', 1 }
