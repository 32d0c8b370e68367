-- needs: base record
-- The task as it is now. ARGV from 6: number, epoch.
local task = read(ARGV[6])
if not task or task[EPOCH] ~= ARGV[7] then return {'ok', now, false} end
return {'ok', now, told(ARGV[6], task)}
