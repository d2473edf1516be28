#!lua
-- Take in one event: all of it happens, or nothing (also when memory is out: then the script is not begun).
--
-- KEYS[1]   meta
-- ARGV[1]   fence of the writer
-- ARGV[2]   position that the event follows
-- ARGV[3]   rv: the position after it
-- ARGV[4]   kind: A, M or D. Corrected by what is stored: M of an unknown object is A, A of a known one is M,
--           D of an unknown one only advances the position
-- ARGV[5]   place: the namespace; the name where the object is cluster-scoped
-- ARGV[6]   object key: `namespace/name`; the name (equal to the place) where it is cluster-scoped
-- ARGV[7]   shard: of a namespace that is not in `places` yet; where a cluster-scoped object belongs from now on
-- ARGV[8]   record bytes; of a D the final object
-- ARGV[9]   budget of all logs of the resource, bytes
-- ARGV[10]  minimum that is left to every log, bytes
-- returns   {OK} | {FENCED, held fence} | {NOTSYNCED, state} | {MISMATCH, position of the store}

local before, rv, kind, place, name, hint, record = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local meta = read_meta()
local refusal = misplaced(meta, ARGV[1], before)
if refusal then
  return refusal
end
if not older(before, rv) then
  return { 'MISMATCH', meta.position }
end

local ms = now()
local cluster_scoped = place == name
local known = shard_of(place)
local shard, old
if cluster_scoped then
  old = known or '-'
  shard = kind == 'D' and old or hint
else
  shard = known or hint
  old = shard
end

local prev = redis.call('HGET', key('objects:' .. old), name)
if kind == 'D' then
  if not prev then
    advance_to(meta, rv, ms, meta.log_bytes)
    announce('b', rv, before, ms)
    return { 'OK' }
  end
else
  kind = prev and 'M' or 'A'
end

local forgot
if cluster_scoped then
  if kind == 'D' then
    if known then
      set_place(place, known, nil, nil, before, ms)
      forgot = rv
    end
  elseif prev and shard ~= old then
    set_place(place, old, shard, before, before, ms)
    redis.call('HDEL', key('objects:' .. old), name)
    redis.call('ZREM', key('index:' .. old), name)
  elseif not prev and shard ~= '-' then
    set_place(place, nil, shard, before, before, ms)
  elseif not prev and meta.forgot then
    set_place(place, nil, shard, meta.forgot, before, ms)
  end
elseif not known then
  set_place(place, nil, shard, meta.forgot or '0', before, ms)
end

local objects, index, log = key('objects:' .. shard), key('index:' .. shard), key('log:' .. shard)
local bytes = ENTRY_BYTES + #ms + #before + 1 + #record
if kind == 'D' then
  redis.call('HDEL', objects, name)
  redis.call('ZREM', index, name)
else
  redis.call('HSET', objects, name, record)
  if not prev or shard ~= old then
    redis.call('ZADD', index, 0, name)
  end
end
if prev then
  bytes = bytes + #prev
  redis.call('XADD', log, rv .. '-0', 't', ms, 'b', before, 'k', kind, 'r', record, 'p', prev)
else
  redis.call('XADD', log, rv .. '-0', 't', ms, 'b', before, 'k', kind, 'r', record)
end
redis.call('ZINCRBY', key('logsizes'), bytes, shard)
local log_bytes, budget = meta.log_bytes + bytes, tonumber(ARGV[9])
if log_bytes > budget then
  -- Some more than need be: to read old entries for their size costs less by the dozen.
  log_bytes = trim_logs(log_bytes, budget - math.min(budget / 64, 262144), tonumber(ARGV[10]), 32)
end
advance_to(meta, rv, ms, log_bytes, forgot)

local message = rv .. ' ' .. before .. ' ' .. ms .. ' ' .. kind .. ' ' .. record
redis.call('PUBLISH', key('shard:' .. shard), message)
if prev and shard ~= old then
  redis.call('PUBLISH', key('shard:' .. old), message)
  announce('e', rv, before, ms, shard .. '\t' .. old)
else
  announce('e', rv, before, ms, shard)
end
if meta.state == 'stale' then
  announce_meta()
end
return { 'OK' }
