-- needs: base record once standing promote take ring
-- The most urgent due tasks are leased; none: when the next one falls due.
-- ARGV from 6: the length of the leases (seconds, microseconds), their token, how many, whether a ring woke the caller.
if not promote() then return {'again'} end
local ends = later(ARGV[6], ARGV[7])
local taken, seqs = take(tonumber(ARGV[9]), ends, ARGV[8])
if #taken == 0 then
  local due = false
  for _, place in ipairs({SCHEDULED, LEASED}) do
    local first = redis.call('ZRANGE', place, 0, 0)[1]
    if first and (not due or first < due) then due = first end
  end
  return {'none', now, due and string.sub(due, 1, 18)}
end
if ARGV[10] == '1' and redis.call('ZCARD', READY) > 0 then ring() end
remember({'claimed', ends, ARGV[8], seqs, {}})
return {'ok', now, ends, {}, taken}
