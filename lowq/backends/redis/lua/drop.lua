-- Nothing is left of the task.
local function drop(seq, task)
  leave(seq, task)
  redis.call('HDEL', TASK, seq)
  redis.call('HDEL', WORK, seq)
  unstand(task[DIGEST], seq)
end
