#!lua flags=allow-oom
-- Take a resource's lease if nobody holds it, with a new fence.
-- A fence is at least the store's time in us (exact in a double until the year 2255): one that a failover took back,
-- or that was lost with all the rest, is never given out again.
--
-- KEYS[1]   meta
-- KEYS[2]   lease
-- ARGV[1]   owner; unique per life of a worker
-- ARGV[2]   ms until the lease ends if it is not renewed
-- returns   {OK, fence} | {HELD, owner, ms it still lasts}

local owner = redis.call('GET', KEYS[2])
if owner == ARGV[1] then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
  return { 'OK', redis.call('HGET', META, 'fence') }
end
if owner then
  return { 'HELD', owner, redis.call('PTTL', KEYS[2]) }
end
local held = tonumber(redis.call('HGET', META, 'fence') or '0')
local time = redis.call('TIME')
local fence = string.format('%.0f', math.max(held + 1, tonumber(time[1]) * 1000000 + tonumber(time[2])))
redis.call('HSET', META, 'fence', fence)
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return { 'OK', fence }
