-- What fell due is ready, and so is what was leased for too long; false: there may be more of it.
local function promote()
  local left = 1000
  for _, place in ipairs({SCHEDULED, LEASED}) do
    local due = redis.call('ZRANGEBYLEX', place, '-', '[' .. now .. ';', 'LIMIT', 0, left)
    for _, member in ipairs(due) do
      redis.call('ZREM', place, member)
      local seq = string.sub(member, 20)
      local task = read(seq)
      if task then
        task[STATE], task[DUE] = 'R', false
        write(seq, task)
        if place == LEASED and dedupe == 'until_claimed' then stand(task[DIGEST], seq) end
      end
      redis.call('ZADD', READY, task and task[RANK] or 0, seq)
    end
    left = left - #due
    if left == 0 then return false end
  end
  return true
end
