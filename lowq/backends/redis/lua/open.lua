-- The queue is there, made where it is new and may be: which queue it is, and how it dedupes.
-- ARGV: what a new one is made with (made, dedupe), whether to make one, the layout that the client knows, the key of
-- the names, that of a call.

-- Who may write, but not all that the verbs do, is told now: a script that is refused a command halfway is not undone.
-- Who may write nothing is refused at the first write, and may look.
local READS = {
  EXISTS = {}, HEXISTS = {'f'}, HGET = {'f'}, HMGET = {'f'}, TYPE = {}, ZCARD = {}, ZCOUNT = {'0', '1'},
  ZLEXCOUNT = {'-', '+'}, ZRANGE = {'0', '1'}, ZRANGEBYLEX = {'-', '+'}, ZRANGEBYSCORE = {'0', '1'},
}
local WRITES = {HDEL = {'f'}, HINCRBY = {'f', '1'}, HSET = {'f', 'v'}, ZADD = {'0', 'm'}, ZPOPMIN = {}, ZREM = {'m'}}
local asked = {
  {{ARGV[5]}, {SISMEMBER = {'m'}, SMEMBERS = {}}, {SADD = {'m'}}},
  {{ARGV[6]}, {GET = {}}, {SET = {'v', 'PX', '1'}}},
  {{KEYS[9]}, {LLEN = {}}, {BLPOP = {'1'}, LPUSH = {'v'}}},
  {{unpack(KEYS, 1, 8)}, READS, WRITES},
}
local missed, writes
local function ask(key, commands, writing)
  for command, rest in pairs(commands) do
    if not redis.acl_check_cmd(command, key, unpack(rest)) then
      missed = command .. ' on the key ' .. key
    elseif writing then
      writes = true
    end
  end
end
redis.call('TIME')
if redis.acl_check_cmd then -- since Redis 7
  for _, each in ipairs(asked) do
    for _, key in ipairs(each[1]) do
      ask(key, each[2], false)
      ask(key, each[3], true)
    end
  end
  if writes and missed then return redis.error_reply('NOPERM no permission to run ' .. missed) end
end

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
