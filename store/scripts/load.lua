#!lua
-- Store some objects of a load that was begun. No events.
--
-- KEYS[1]   meta
-- ARGV[1]   fence of the writer
-- ARGV[2…]  per object: place, object key, shard (as in apply.lua), record bytes
-- returns   {OK} | {FENCED, held fence} | {NOTSYNCED, state}: no load was begun

local refusal = fenced(ARGV[1])
if refusal then
  return refusal
end
local state = redis.call('HGET', META, 'state')
if state ~= 'syncing' then
  return { 'NOTSYNCED', state or '' }
end
for i = 2, #ARGV, 4 do
  local place, name, shard = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if place ~= name then
    local known = shard_of(place)
    if not known then
      redis.call('HSET', key('places'), place, '0 ' .. shard)
    end
    shard = known or shard
  elseif shard ~= '-' then
    redis.call('HSET', key('places'), place, '0 ' .. shard)
  end
  redis.call('ZINCRBY', key('logsizes'), 0, shard)
  redis.call('HSET', key('objects:' .. shard), name, ARGV[i + 3])
  redis.call('ZADD', key('index:' .. shard), 0, name)
end
return { 'OK' }
