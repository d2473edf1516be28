#!lua flags=allow-oom
-- Begin a resource's history anew: drop all that is stored of it, objects and logs alike.
--
-- KEYS[1]   meta
-- ARGV[1]   fence of the writer
-- returns   {OK, incarnation} | {FENCED, held fence}

local refusal = fenced(ARGV[1])
if refusal then
  return refusal
end
for _, shard in ipairs(redis.call('ZRANGE', key('logsizes'), 0, -1)) do
  redis.call('UNLINK', key('objects:' .. shard), key('index:' .. shard), key('log:' .. shard))
end
redis.call('UNLINK', key('places'), key('logsizes'), key('floors'), key('clock'))
redis.call('HDEL', META, 'position', 'since', 'log_bytes', 'clock_ms', 'forgot', 'moves')
local time = redis.call('TIME')
local incarnation = time[1] .. '.' .. string.format('%06d', tonumber(time[2]))
redis.call('HSET', META, 'state', 'syncing', 'incarnation', incarnation)
announce_meta()
return { 'OK', incarnation }
