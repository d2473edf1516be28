#!lua flags=no-writes
-- One object, with the position as of the same instant.
--
-- KEYS[1]   meta
-- ARGV[1]   place
-- ARGV[2]   object key (equal to the place where it is cluster-scoped)
-- returns   {state, position, record or nil}

local meta = redis.call('HMGET', META, 'state', 'position')
local shard = shard_of(ARGV[1])
if not shard and ARGV[1] == ARGV[2] then
  shard = '-'
end
local record = shard and redis.call('HGET', key('objects:' .. shard), ARGV[2]) or false
return { meta[1] or '', meta[2] or '0', record }
