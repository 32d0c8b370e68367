-- needs: base record once standing held leave
-- The task is set aside. ARGV from 6: number, epoch, token; reason; whether the claim counts.
local seq = ARGV[6]
local task, there = held(seq, ARGV[7], ARGV[8])
if not task then return {'lost', now, there or false} end
leave(seq, task)
unstand(task[DIGEST], seq)
task[STATE], task[TOKEN], task[DUE], task[REASON] = 'D', false, false, ARGV[9]
if ARGV[10] == '0' then task[ATTEMPTS] = task[ATTEMPTS] - 1 end
write(seq, task)
redis.call('ZADD', DEAD, seq, seq)
return remember({'ok', now})
