-- The task is in no list any more.
local function leave(seq, task)
  local state = task[STATE]
  if state == 'L' then
    redis.call('ZREM', LEASED, timed(task, seq))
  elseif state == 'R' then
    redis.call('ZREM', READY, seq)
  elseif state == 'S' then
    redis.call('ZREM', SCHEDULED, timed(task, seq))
  else
    redis.call('ZREM', DEAD, seq)
  end
end
