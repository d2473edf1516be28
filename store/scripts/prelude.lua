-- Put in front of every script (see store/scripts.py). No keys, no arguments of its own.
--
-- KEYS[1] of every script is `<prefix>:{<resource>}:meta`; all other keys have the same hash tag, so the same slot,
-- and are made from it by `key`. Which shard's keys are touched is found out in the script, from `places`.
-- RVs and positions are uint64 as decimal text without leading zeros. They are never turned into numbers:
-- a Lua number is a double, exact only up to 2^53.

local META = KEYS[1]
local BASE = string.sub(META, 1, -5)

-- Bytes that an entry of a log costs Redis besides its records.
local ENTRY_BYTES = 120
-- At most one entry of the clock per this many ms; with 2,000 entries it reaches back for more than five hours.
local CLOCK_MS = 10000
local CLOCK_ENTRIES = 2000

local function key(name)
  return BASE .. name
end

-- The store's time, Unix ms, as text.
local function now()
  local time = redis.call('TIME')
  return time[1] .. string.format('%03d', math.floor(tonumber(time[2]) / 1000))
end

-- Whether the RV `a` is older than the RV `b`.
local function older(a, b)
  if #a ~= #b then
    return #a < #b
  end
  return a < b
end

local function announce(what, position, before, ms, more)
  local text = what .. ' ' .. position .. ' ' .. before .. ' ' .. ms
  if more then
    text = text .. ' ' .. more
  end
  redis.call('PUBLISH', key('feed'), text)
end

-- State, incarnation or description changed.
local function announce_meta()
  local meta = redis.call('HMGET', META, 'position', 'incarnation')
  local position = meta[1] or '0'
  announce('x', position, position, now(), meta[2] or '')
end

-- The answer for a writer that does not hold the fence; nil for the one that does.
local function fenced(fence)
  local held = redis.call('HGET', META, 'fence')
  if held ~= fence then
    return { 'FENCED', held or '' }
  end
  return nil
end

-- The fields that `misplaced` and `advance_to` want, in their order.
local function read_meta()
  local m = redis.call('HMGET', META, 'fence', 'position', 'state', 'log_bytes', 'clock_ms', 'forgot')
  return {
    fence = m[1],
    position = m[2],
    state = m[3],
    log_bytes = tonumber(m[4] or '0'),
    clock_ms = tonumber(m[5] or '0'),
    forgot = m[6],
  }
end

-- The answer for a write that is not the holder's or does not follow the store's position; nil if all is well.
local function misplaced(meta, fence, before)
  if meta.fence ~= fence then
    return { 'FENCED', meta.fence or '' }
  end
  if meta.state ~= 'synced' and meta.state ~= 'stale' then
    return { 'NOTSYNCED', meta.state or '' }
  end
  if meta.position ~= before then
    return { 'MISMATCH', meta.position }
  end
  return nil
end

-- The shard that a place is in; nil where it is unknown.
local function shard_of(place)
  local entry = redis.call('HGET', key('places'), place)
  if entry then
    return string.match(entry, '^%d+ (.*)$')
  end
  return nil
end

-- Put a place into the shard `to` (nil: take it out of `places`), of which `since` tells from where its log is whole.
-- A change of the shard counts as a move: whoever copies a shard meanwhile has to begin again.
local function set_place(place, from, to, since, position, ms)
  local moves
  if to then
    redis.call('HSET', key('places'), place, since .. ' ' .. to)
    redis.call('ZINCRBY', key('logsizes'), 0, to)
  else
    redis.call('HDEL', key('places'), place)
  end
  if from then
    moves = redis.call('HINCRBY', META, 'moves', 1)
  else
    moves = redis.call('HGET', META, 'moves') or 0
  end
  announce('p', position, position, ms, place .. '\t' .. (from or '') .. '\t' .. (to or '') .. '\t' .. moves)
end

-- Take the oldest entries out of the biggest log until all logs together have at most `target` bytes, no further
-- than to `minimum` bytes in any of them, and at most `steps` entries. Returns the bytes that are left.
local function trim_logs(total, target, minimum, steps)
  while total > target and steps > 0 do
    local biggest = redis.call('ZREVRANGE', key('logsizes'), 0, 0, 'WITHSCORES')
    local shard, size = biggest[1], tonumber(biggest[2] or '0')
    if not shard or size <= 0 then
      return 0
    end
    local log = key('log:' .. shard)
    local entries = redis.call('XRANGE', log, '-', '+', 'COUNT', math.min(steps, 8))
    local last, freed = nil, 0
    for _, entry in ipairs(entries) do
      local bytes = ENTRY_BYTES
      for i = 2, #entry[2], 2 do
        bytes = bytes + #entry[2][i]
      end
      if size - freed - bytes < minimum or total - freed <= target then
        break
      end
      last, freed, steps = string.match(entry[1], '^%d+'), freed + bytes, steps - 1
    end
    if not last then
      return total
    end
    redis.call('XTRIM', log, 'MINID', last .. '-1')
    redis.call('ZINCRBY', key('logsizes'), -freed, shard)
    redis.call('HSET', key('floors'), shard, last)
    total = total - freed
  end
  return total
end

-- Move the position, and what goes with it: the clock, and a stale resource is taken as good again.
local function advance_to(meta, position, ms, log_bytes, forgot)
  local fields = { 'position', position, 'log_bytes', string.format('%.0f', log_bytes) }
  if tonumber(ms) - meta.clock_ms >= CLOCK_MS then
    redis.call('XADD', key('clock'), 'MAXLEN', '~', CLOCK_ENTRIES, position .. '-0', 't', ms)
    fields[#fields + 1] = 'clock_ms'
    fields[#fields + 1] = ms
  end
  if forgot then
    fields[#fields + 1] = 'forgot'
    fields[#fields + 1] = forgot
  end
  if meta.state == 'stale' then
    fields[#fields + 1] = 'state'
    fields[#fields + 1] = 'synced'
  end
  redis.call('HSET', META, unpack(fields))
end
