-- needs: base record once standing held leave
-- The task is held for that long from now. ARGV from 6: number, epoch, token; seconds, microseconds.
local seq = ARGV[6]
local task, there = held(seq, ARGV[7], ARGV[8])
if not task then return {'lost', now, there or false} end
leave(seq, task)
if task[STATE] == 'R' and dedupe == 'until_claimed' then unstand(task[DIGEST], seq) end
task[STATE], task[DUE] = 'L', later(ARGV[9], ARGV[10])
write(seq, task)
redis.call('ZADD', LEASED, 0, timed(task, seq))
remember({'claimed', task[DUE], task[TOKEN], {seq}, {}})
return {'ok', now, task[DUE], {}, {told(seq, task)}}
