#!lua flags=allow-oom
-- Store what describes the resource. Replicas are told only if it changed.
--
-- KEYS[1]   meta
-- ARGV[1]   fence of the writer
-- ARGV[2]   description (msgpack, store/meta.py)
-- returns   {OK, 1 if it changed, else 0} | {FENCED, held fence}

local refusal = fenced(ARGV[1])
if refusal then
  return refusal
end
if redis.call('HGET', META, 'described') == ARGV[2] then
  return { 'OK', 0 }
end
redis.call('HSET', META, 'described', ARGV[2])
announce_meta()
return { 'OK', 1 }
