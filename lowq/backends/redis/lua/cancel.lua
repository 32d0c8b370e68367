-- needs: base record once standing leave drop
-- The task is gone, or it is leased or not there: 1 or 0. ARGV from 6: number, epoch.
local seq = ARGV[6]
local task = read(seq)
if not task or task[EPOCH] ~= ARGV[7] then return {'ok', now, 0} end
if task[STATE] == 'L' and task[DUE] > now then return {'ok', now, 0} end
drop(seq, task)
return remember({'ok', now, 1})
