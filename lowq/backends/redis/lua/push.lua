-- needs: base record once standing promote ring
-- Each work is kept, or an equal one stands or came before it: ids, and whether each was added.
-- ARGV from 6, for each: text, digest, rank, not before, checksum, key, headers (the two with a sign before them).
if dedupe == 'until_claimed' and not promote() then return {'again'} end
local said, added, fresh = {'ok', now}, {}, {}
for index = 6, #ARGV, 7 do
  local digest, id = ARGV[index + 1], nil
  if dedupe ~= 'off' then
    id = fresh[digest]
    local stands = not id and redis.call('HGET', STANDING, digest)
    if stands then
      local seq = string.sub(stands, 1, 16)
      local task = read(seq)
      if task then id = task[EPOCH] .. '-' .. string.format('%d', seq) end
    end
  end
  if id then
    said[#said + 1], said[#said + 2] = id, 0
  else
    added[#added + 1] = index
    said[#said + 1], said[#said + 2] = #added, 1
    if dedupe ~= 'off' then fresh[digest] = #added end
  end
end
if #added > 0 then
  local first = redis.call('HINCRBY', META, 'next', #added) - #added
  for index = 3, #said, 2 do
    if type(said[index]) == 'number' then said[index] = string.format('%s-%d', epoch, first + said[index]) end
  end
  for place, index in ipairs(added) do
    local seq, rank, at = string.format('%016d', first + place), tonumber(ARGV[index + 2]), ARGV[index + 3]
    local waits = at ~= '' and at > now
    local key, headers = ARGV[index + 5], ARGV[index + 6]
    local task = {
      waits and 'S' or 'R', epoch, rank, ARGV[index + 1], waits and at, at ~= '' and at, 0, false, false, now,
      tonumber(ARGV[index + 4]), key ~= '' and string.sub(key, 2), headers ~= '' and string.sub(headers, 2)
    }
    redis.call('HSET', WORK, seq, ARGV[index])
    write(seq, task)
    if waits then
      redis.call('ZADD', SCHEDULED, 0, timed(task, seq))
    else
      redis.call('ZADD', READY, rank, seq)
    end
    if dedupe ~= 'off' then redis.call('HSET', STANDING, task[DIGEST], seq) end
  end
  ring()
end
return remember(said)
