-- needs: base record once standing promote take held leave drop
-- The tasks of leases that are the caller's are gone, and the next ones are claimed.
-- ARGV from 6: how many to claim, for how long (seconds, microseconds), their token, whether a lost lease keeps all
-- from happening; then of each lease: number, epoch, token.
local most = tonumber(ARGV[6])
if most > 0 and not promote() then return {'again'} end
local losses = {}
for index = 11, #ARGV, 3 do
  local seq = ARGV[index]
  local task, there = held(seq, ARGV[index + 1], ARGV[index + 2])
  if task then
    drop(seq, task)
    losses[#losses + 1] = false
  else
    if ARGV[10] == '1' then return {'lost', now, there or false} end
    losses[#losses + 1] = {there or false}
  end
end
local ends = later(ARGV[7], ARGV[8])
local taken, seqs = {}, {}
if most > 0 then taken, seqs = take(most, ends, ARGV[9]) end
remember({'claimed', ends, ARGV[9], seqs, losses})
return {'ok', now, ends, losses, taken}
