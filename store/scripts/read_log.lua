#!lua flags=no-writes
-- The next events of some shards, in order, and where the store stands: one snapshot.
-- Costs one look into each shard's log, and then about 5 us an entry.
--
-- KEYS[1]   meta
-- ARGV[1]   RV after which to begin
-- ARGV[2]   RV with which to end; empty: none
-- ARGV[3]   entries at most
-- ARGV[4]   bytes of records after which to end (at least one entry is returned)
-- ARGV[5…]  shards; none given: all
-- returns   {state, position, incarnation, moves, since, floor: the newest of these shards' floors ("" if none has one),
--            1 if there are more entries else 0, {{shard, id, {field, value, …}}, …}}

local after, upto, max_count, max_bytes = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
upto = upto == '' and '+' or upto .. '-0'

local shards, floors
if #ARGV > 4 then
  shards, floors = {}, {}
  for i = 5, #ARGV do
    shards[#shards + 1] = ARGV[i]
    floors[#floors + 1] = redis.call('HGET', key('floors'), ARGV[i]) or nil
  end
else
  shards, floors = redis.call('ZRANGE', key('logsizes'), 0, -1), redis.call('HVALS', key('floors'))
end
local floor = ''
for _, rv in ipairs(floors) do
  if older(floor, rv) then
    floor = rv
  end
end

-- A queue holds entries of one shard that were read but not yet taken, `rv` is that of its first one.
local function fill(queue, count)
  queue.entries = redis.call('XRANGE', key('log:' .. queue.shard), '(' .. queue.last, upto, 'COUNT', count)
  queue.first = 1
  if #queue.entries == 0 then
    return false
  end
  queue.last = queue.entries[#queue.entries][1]
  queue.rv = string.match(queue.entries[1][1], '^%d+')
  return true
end

-- The queues, that with the oldest entry last.
local queues = {}
for _, shard in ipairs(shards) do
  local queue = { shard = shard, last = after .. '-0' }
  if fill(queue, 1) then
    queues[#queues + 1] = queue
  end
end
table.sort(queues, function(a, b) return older(b.rv, a.rv) end)

local function put_back(queue)
  local low, high = 1, #queues + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if older(queue.rv, queues[middle].rv) then
      low = middle + 1
    else
      high = middle
    end
  end
  table.insert(queues, low, queue)
end

local taken, bytes = {}, 0
while #queues > 0 and #taken < max_count and bytes < max_bytes do
  local queue = table.remove(queues)
  local entry = queue.entries[queue.first]
  taken[#taken + 1] = { queue.shard, entry[1], entry[2] }
  for i = 2, #entry[2], 2 do
    bytes = bytes + #entry[2][i]
  end
  queue.first = queue.first + 1
  if queue.first <= #queue.entries then
    queue.rv = string.match(queue.entries[queue.first][1], '^%d+')
    put_back(queue)
  elseif fill(queue, math.min(16, max_count)) then
    put_back(queue)
  end
end

local meta = redis.call('HMGET', META, 'state', 'position', 'incarnation', 'moves', 'since')
return { meta[1] or '', meta[2] or '0', meta[3] or '', meta[4] or '0', meta[5] or '0', floor, #queues > 0 and 1 or 0,
  taken }
