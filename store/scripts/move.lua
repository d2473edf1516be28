#!lua flags=allow-oom
-- Put a place, with all its objects, into another shard. Storage only: no event, the position stays.
-- Some 30 us an object: a namespace of 10,000 objects holds Redis for 0.3 s.
--
-- KEYS[1]   meta
-- ARGV[1]   fence of the writer
-- ARGV[2]   place: a namespace, or the name of a cluster-scoped object
-- ARGV[3]   shard to move to
-- ARGV[4]   1 where the place is a namespace, else 0
-- returns   {OK, objects moved} | {FENCED, held fence} | {NOTSYNCED, state}

local CHUNK = 200
local place, to, namespaced = ARGV[2], ARGV[3], ARGV[4] == '1'
local meta = read_meta()
local refusal = misplaced(meta, ARGV[1], meta.position)
if refusal then
  return refusal
end

local from = shard_of(place)
local names
if namespaced then
  if not from or from == to then
    return { 'OK', 0 }
  end
  -- '0' is the character after '/'.
  names = redis.call('ZRANGEBYLEX', key('index:' .. from), '[' .. place .. '/', '(' .. place .. '0')
else
  from = from or '-'
  if from == to or redis.call('HEXISTS', key('objects:' .. from), place) == 0 then
    return { 'OK', 0 }
  end
  names = { place }
end

for first = 1, #names, CHUNK do
  local last = math.min(first + CHUNK - 1, #names)
  local records = redis.call('HMGET', key('objects:' .. from), unpack(names, first, last))
  local pairs_, members = {}, {}
  for i, record in ipairs(records) do
    local name = names[first + i - 1]
    pairs_[#pairs_ + 1] = name
    pairs_[#pairs_ + 1] = record
    members[#members + 1] = 0
    members[#members + 1] = name
  end
  redis.call('HSET', key('objects:' .. to), unpack(pairs_))
  redis.call('ZADD', key('index:' .. to), unpack(members))
  redis.call('HDEL', key('objects:' .. from), unpack(names, first, last))
  redis.call('ZREM', key('index:' .. from), unpack(names, first, last))
end
set_place(place, from, to, meta.position, meta.position, now())
return { 'OK', #names }
