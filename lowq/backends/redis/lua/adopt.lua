-- needs: base record once standing promote ring
-- The tasks of another queue are kept with what lies behind them, or equal ones stand: ids, and whether each was added.
-- ARGV from 6, for each: text, digest, rank, not before, checksum, key, headers (the two with a sign before them);
-- S, R or D; attempts; reason, with a sign; when it was pushed.
if dedupe == 'until_claimed' and not promote() then return {'again'} end
local said = {'ok', now}
for index = 6, #ARGV, 11 do
  local digest, at, state = ARGV[index + 1], ARGV[index + 3], ARGV[index + 7]
  local stands = dedupe ~= 'off' and state ~= 'D' and redis.call('HGET', STANDING, digest)
  local other = stands and read(string.sub(stands, 1, 16))
  if other then
    said[#said + 1] = other[EPOCH] .. '-' .. string.format('%d', string.sub(stands, 1, 16))
    said[#said + 1] = 0
  else
    local number_ = redis.call('HINCRBY', META, 'next', 1)
    local seq, rank = string.format('%016d', number_), tonumber(ARGV[index + 2])
    if state == 'S' and not (at ~= '' and at > now) then state = 'R' end
    local key, headers, reason = ARGV[index + 5], ARGV[index + 6], ARGV[index + 9]
    local task = {
      state, epoch, rank, digest, state == 'S' and at, at ~= '' and at, tonumber(ARGV[index + 8]), false,
      reason ~= '' and string.sub(reason, 2), ARGV[index + 10],
      tonumber(ARGV[index + 4]), key ~= '' and string.sub(key, 2), headers ~= '' and string.sub(headers, 2)
    }
    redis.call('HSET', WORK, seq, ARGV[index])
    write(seq, task)
    if state == 'S' then
      redis.call('ZADD', SCHEDULED, 0, timed(task, seq))
    elseif state == 'R' then
      redis.call('ZADD', READY, rank, seq)
    else
      redis.call('ZADD', DEAD, seq, seq)
    end
    if state ~= 'D' then stand(digest, seq) end
    said[#said + 1], said[#said + 2] = string.format('%s-%d', epoch, number_), 1
  end
end
ring()
return remember(said)
