#!lua flags=allow-oom
-- Make logs shorter, the biggest first, to get memory back.
--
-- KEYS[1]   meta
-- ARGV[1]   fence of the writer
-- ARGV[2]   bytes that all logs together may have afterwards
-- ARGV[3]   minimum that is left to every log, bytes
-- ARGV[4]   entries to take out at most, so that one call does not hold Redis for long
-- returns   {OK, bytes left} | {FENCED, held fence}

local refusal = fenced(ARGV[1])
if refusal then
  return refusal
end
local total = tonumber(redis.call('HGET', META, 'log_bytes') or '0')
local left = string.format('%.0f', trim_logs(total, tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])))
redis.call('HSET', META, 'log_bytes', left)
return { 'OK', left }
