#!lua flags=allow-oom
-- Say that a resource can take in no more events. The next one that succeeds ends it.
--
-- KEYS[1]   meta
-- ARGV[1]   fence of the writer
-- returns   {OK, 1 if it was synced, else 0} | {FENCED, held fence}

local refusal = fenced(ARGV[1])
if refusal then
  return refusal
end
if redis.call('HGET', META, 'state') ~= 'synced' then
  return { 'OK', 0 }
end
redis.call('HSET', META, 'state', 'stale')
announce_meta()
return { 'OK', 1 }
