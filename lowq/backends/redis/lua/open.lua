-- The queue is there, made where it is new and may be: which queue it is, and how it dedupes.
-- ARGV: what a new one is made with (made, dedupe), whether to make one, the layout that the client knows.
redis.call('TIME') -- which every other script asks for: who may not is told now, before anything is written
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then
  for number = 2, 9 do
    if redis.call('EXISTS', KEYS[number]) == 1 then return {'foreign', KEYS[number]} end
  end
  if ARGV[3] ~= '1' then return {'none'} end
  redis.call('HSET', KEYS[1], 'layout', ARGV[4], 'made', ARGV[1], 'dedupe', ARGV[2], 'next', '0')
elseif kind ~= 'hash' then
  return {'foreign', KEYS[1]}
end
local said = redis.call('HMGET', KEYS[1], 'layout', 'made', 'dedupe')
if not (said[1] and said[2] and said[3] and tonumber(said[1])) then return {'foreign', KEYS[1]} end
if tonumber(said[1]) > tonumber(ARGV[4]) then return {'newer', said[1]} end
return {'ok', said[2], said[3]}
