#!lua flags=allow-oom
-- End a load: what was stored is the resource as of this position, and its history begins here.
--
-- KEYS[1]   meta
-- ARGV[1]   fence of the writer
-- ARGV[2]   position: the RV of the list that was loaded; not 0
-- returns   {OK} | {FENCED, held fence} | {NOTSYNCED, state}: no load was begun

local refusal = fenced(ARGV[1])
if refusal then
  return refusal
end
local state = redis.call('HGET', META, 'state')
if state ~= 'syncing' then
  return { 'NOTSYNCED', state or '' }
end
local ms, position = now(), ARGV[2]
redis.call('XADD', key('clock'), position .. '-0', 't', ms)
redis.call('HSET', META, 'state', 'synced', 'position', position, 'since', position, 'log_bytes', '0', 'clock_ms', ms,
  'fresh_ms', ms)
announce_meta()
return { 'OK' }
