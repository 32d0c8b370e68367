-- The record of a task: what is in its place, in this order; false where there is nothing.
local STATE, EPOCH, RANK, DIGEST, DUE, NOT_BEFORE, ATTEMPTS = 1, 2, 3, 4, 5, 6, 7
local TOKEN, REASON, PUSHED_AT, CRC, KEY, HEADERS = 8, 9, 10, 11, 12, 13

local function read(seq)
  local packed = redis.call('HGET', TASK, seq)
  if not packed then return nil end
  local whole, task = pcall(cmsgpack.unpack, packed)
  if whole and type(task) == 'table' and type(task[STATE]) == 'string' and type(task[RANK]) == 'number'
    and type(task[ATTEMPTS]) == 'number' and task[HEADERS] ~= nil
    and (type(task[DUE]) == 'string') == (task[STATE] == 'S' or task[STATE] == 'L') then
    return task
  end
  return nil
end

local function write(seq, task)
  redis.call('HSET', TASK, seq, cmsgpack.pack(task))
end

local function told(seq, task)
  local list = {seq, unpack(task, 1, HEADERS)}
  list[HEADERS + 2] = redis.call('HGET', WORK, seq)
  return list
end

local function timed(task, seq)
  return task[DUE] .. ':' .. seq
end
