#!lua flags=allow-oom
-- Tell all replicas where the store is, and when upstream was last in touch.
--
-- KEYS[1]   meta
-- ARGV[1]   fence of the writer
-- ARGV[2]   ms since upstream was last in touch
-- returns   {OK} | {FENCED, held fence}

local refusal = fenced(ARGV[1])
if refusal then
  return refusal
end
local ms = now()
local fresh = string.format('%.0f', tonumber(ms) - tonumber(ARGV[2]))
redis.call('HSET', META, 'fresh_ms', fresh)
local position = redis.call('HGET', META, 'position') or '0'
announce('h', position, position, ms, fresh)
return { 'OK' }
