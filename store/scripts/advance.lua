#!lua flags=allow-oom
-- Move the position without an event (a bookmark of upstream).
--
-- KEYS[1]   meta
-- ARGV[1]   fence of the writer
-- ARGV[2]   position that it follows
-- ARGV[3]   position to advance to; the same one is allowed, and changes nothing
-- returns   {OK} | {FENCED, held fence} | {NOTSYNCED, state} | {MISMATCH, position of the store}

local before, position = ARGV[2], ARGV[3]
local meta = read_meta()
local refusal = misplaced(meta, ARGV[1], before)
if refusal then
  return refusal
end
if position == before then
  return { 'OK' }
end
if not older(before, position) then
  return { 'MISMATCH', meta.position }
end
local ms = now()
advance_to(meta, position, ms, meta.log_bytes)
announce('b', position, before, ms)
if meta.state == 'stale' then
  announce_meta()
end
return { 'OK' }
