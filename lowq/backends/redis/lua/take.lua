-- The most urgent ready tasks are leased, in claim order; a task whose record cannot be read is set aside.
local function take(most, ends, token)
  local taken, seqs = {}, {}
  while #taken < most do
    local popped = redis.call('ZPOPMIN', READY, most - #taken)
    if #popped == 0 then break end
    for index = 1, #popped, 2 do
      local seq = popped[index]
      local task = read(seq)
      if task then
        task[STATE], task[DUE], task[ATTEMPTS] = 'L', ends, task[ATTEMPTS] + 1
        task[TOKEN] = token .. '-' .. string.format('%d', seq)
        write(seq, task)
        redis.call('ZADD', LEASED, 0, timed(task, seq))
        if dedupe == 'until_claimed' then unstand(task[DIGEST], seq) end
        taken[#taken + 1], seqs[#seqs + 1] = told(seq, task), seq
      else
        local why = 'damaged: the record of the task cannot be read; no worker got it'
        write(seq, {'D', epoch, 0, '', false, false, 0, false, why, now, 0, false, false})
        redis.call('ZADD', DEAD, seq, seq)
      end
    end
  end
  return taken, seqs
end
