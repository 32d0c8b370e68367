-- needs: base record once standing promote ring
-- The dead task waits again, or not: 1 or 0. ARGV from 6: number, epoch.
if dedupe == 'until_claimed' and not promote() then return {'again'} end
local seq = ARGV[6]
local task = read(seq)
if not task or task[EPOCH] ~= ARGV[7] or task[STATE] ~= 'D' then return {'ok', now, 0} end
if dedupe ~= 'off' and redis.call('HEXISTS', STANDING, task[DIGEST]) == 1 then return {'ok', now, 0} end
redis.call('ZREM', DEAD, seq)
task[STATE], task[ATTEMPTS] = 'R', 0
write(seq, task)
redis.call('ZADD', READY, task[RANK], seq)
stand(task[DIGEST], seq)
ring()
return remember({'ok', now, 1})
