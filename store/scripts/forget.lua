#!lua flags=allow-oom
-- Take a namespace without objects out of `places`, after it was deleted. Should it come back in another shard, resumes
-- from before now get 410: its older events are in this shard's log.
--
-- KEYS[1]   meta
-- ARGV[1]   fence of the writer
-- ARGV[2]   place: the namespace
-- returns   {OK, 1 if it was there and is gone, else 0} | {FENCED, held fence} | {NOTSYNCED, state}

local place = ARGV[2]
local meta = read_meta()
local refusal = misplaced(meta, ARGV[1], meta.position)
if refusal then
  return refusal
end
local shard = shard_of(place)
if not shard or redis.call('ZLEXCOUNT', key('index:' .. shard), '[' .. place .. '/', '(' .. place .. '0') > 0 then
  return { 'OK', 0 }
end
redis.call('HSET', META, 'forgot', meta.position)
set_place(place, shard, nil, nil, meta.position, now())
return { 'OK', 1 }
