-- needs: base record once standing held leave ring
-- The task waits again in its old place. ARGV from 6: number, epoch, token; not before, reason with a sign, uncount.
local seq, at, reason = ARGV[6], ARGV[9], ARGV[10]
local task, there = held(seq, ARGV[7], ARGV[8])
if not task then return {'lost', now, there or false} end
leave(seq, task)
if task[STATE] == 'L' and dedupe == 'until_claimed' then stand(task[DIGEST], seq) end
task[TOKEN], task[REASON] = false, reason ~= '' and string.sub(reason, 2)
task[ATTEMPTS] = task[ATTEMPTS] - tonumber(ARGV[11])
if at ~= '' then task[NOT_BEFORE] = at end
if at ~= '' and at > now then
  task[STATE], task[DUE] = 'S', at
  redis.call('ZADD', SCHEDULED, 0, timed(task, seq))
else
  task[STATE], task[DUE] = 'R', false
  redis.call('ZADD', READY, task[RANK], seq)
end
write(seq, task)
ring()
return remember({'ok', now})
