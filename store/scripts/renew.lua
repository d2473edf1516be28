#!lua flags=allow-oom
-- Keep a lease. One that ended unnoticed is taken again, unless somebody else has held it since.
--
-- KEYS[1]   meta
-- KEYS[2]   lease
-- ARGV[1]   owner
-- ARGV[2]   ms until the lease ends if it is not renewed
-- ARGV[3]   fence
-- returns   {OK} | {FENCED, held fence}

local refusal = fenced(ARGV[3])
if refusal then
  return refusal
end
local owner = redis.call('GET', KEYS[2])
if owner and owner ~= ARGV[1] then
  return { 'FENCED', ARGV[3] }
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return { 'OK' }
