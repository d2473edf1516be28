#!lua flags=allow-oom
-- Remove documents of upstream's that are there no more.
--
-- KEYS[1]   meta of `larder`
-- ARGV[1]   fence of the writer
-- ARGV[2…]  fields to keep
-- returns   {OK, fields removed} | {FENCED, held fence}

local refusal = fenced(ARGV[1])
if refusal then
  return refusal
end
local kept, removed = {}, 0
for i = 2, #ARGV do
  kept[ARGV[i]] = true
end
for _, field in ipairs(redis.call('HKEYS', key('docs'))) do
  if not kept[field] then
    removed = removed + redis.call('HDEL', key('docs'), field)
  end
end
if removed > 0 then
  redis.call('PUBLISH', key('events'), 'docs')
end
return { 'OK', removed }
