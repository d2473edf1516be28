#!lua
-- Replace a record by another one of the same object version (other bytes or another row). No event, no log entry.
--
-- KEYS[1]   meta
-- ARGV[1]   fence of the writer
-- ARGV[2]   place
-- ARGV[3]   object key
-- ARGV[4]   SHA-1 (hex) of the record's bytes that the new ones were made from
-- ARGV[5]   record bytes
-- returns   {OK, 1; 0 if the object has changed or is gone meanwhile} | {FENCED, held fence} | {NOTSYNCED, state}

local place, name, record = ARGV[2], ARGV[3], ARGV[5]
local meta = read_meta()
local refusal = misplaced(meta, ARGV[1], meta.position)
if refusal then
  return refusal
end
local shard = shard_of(place) or '-'
local objects = key('objects:' .. shard)
local stored = redis.call('HGET', objects, name)
if not stored or redis.sha1hex(stored) ~= ARGV[4] then
  return { 'OK', 0 }
end
redis.call('HSET', objects, name, record)
local position, ms = meta.position, now()
redis.call('PUBLISH', key('shard:' .. shard), position .. ' ' .. position .. ' ' .. ms .. ' R ' .. record)
announce('r', position, position, ms, shard .. '\t' .. redis.call('HINCRBY', META, 'refreshes', 1))
return { 'OK', 1 }
