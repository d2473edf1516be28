#!lua
-- Change fields of `resources`, `docs` or `upstream`, and say so if anything did change.
--
-- KEYS[1]   meta of `larder`
-- ARGV[1]   fence of the writer
-- ARGV[2]   hash: resources, docs or upstream
-- ARGV[3]   1 if fields that are not given are to be removed, else 0
-- ARGV[4…]  field, value, field, value …
-- returns   {OK, fields that changed} | {FENCED, held fence}

local refusal = fenced(ARGV[1])
if refusal then
  return refusal
end
local hash, changed, given = key(ARGV[2]), 0, {}
for i = 4, #ARGV, 2 do
  given[ARGV[i]] = true
  if redis.call('HGET', hash, ARGV[i]) ~= ARGV[i + 1] then
    redis.call('HSET', hash, ARGV[i], ARGV[i + 1])
    changed = changed + 1
  end
end
if ARGV[3] == '1' then
  for _, field in ipairs(redis.call('HKEYS', hash)) do
    if not given[field] then
      redis.call('HDEL', hash, field)
      changed = changed + 1
    end
  end
end
if changed > 0 then
  redis.call('PUBLISH', key('events'), ARGV[2])
end
return { 'OK', changed }
