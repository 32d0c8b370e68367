-- needs: base record once standing promote ring
-- Each work is kept, or an equal one stands or came before it: ids, and whether each was added.
-- ARGV from 6, for each: text, digest, rank, not before, checksum, key, headers (the two with a sign before them).
if dedupe == 'until_claimed' and not promote() then return {'again'} end
local said, added, fresh = {'ok', now}, {}, {}
-- A command for many works at once costs less than one for each; Lua's stack holds some thousands of arguments.
local MOST = 500
local function call_for_all(command, key, parts)
  for from = 1, #parts, 2 * MOST do
    redis.call(command, key, unpack(parts, from, math.min(from + 2 * MOST - 1, #parts)))
  end
end
local standing = {}
if dedupe ~= 'off' then
  for first = 6, #ARGV, 7 * MOST do
    local digests = {}
    for index = first, math.min(first + 7 * MOST - 1, #ARGV), 7 do digests[#digests + 1] = ARGV[index + 1] end
    for place, seq in ipairs(redis.call('HMGET', STANDING, unpack(digests))) do
      standing[first + 7 * (place - 1)] = seq
    end
  end
end
for index = 6, #ARGV, 7 do
  local digest, id = ARGV[index + 1], nil
  if dedupe ~= 'off' then
    id = fresh[digest]
    local stands = not id and standing[index]
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
  local works, tasks, ready, scheduled, equal = {}, {}, {}, {}, {}
  for place, index in ipairs(added) do
    local seq, rank, at = string.format('%016d', first + place), tonumber(ARGV[index + 2]), ARGV[index + 3]
    local waits = at ~= '' and at > now
    local key, headers = ARGV[index + 5], ARGV[index + 6]
    local task = {
      waits and 'S' or 'R', epoch, rank, ARGV[index + 1], waits and at, at ~= '' and at, 0, false, false, now,
      tonumber(ARGV[index + 4]), key ~= '' and string.sub(key, 2), headers ~= '' and string.sub(headers, 2)
    }
    works[#works + 1], works[#works + 2] = seq, ARGV[index]
    tasks[#tasks + 1], tasks[#tasks + 2] = seq, cmsgpack.pack(task)
    if waits then
      scheduled[#scheduled + 1], scheduled[#scheduled + 2] = 0, timed(task, seq)
    else
      ready[#ready + 1], ready[#ready + 2] = rank, seq
    end
    if dedupe ~= 'off' then equal[#equal + 1], equal[#equal + 2] = task[DIGEST], seq end
  end
  call_for_all('HSET', WORK, works)
  call_for_all('HSET', TASK, tasks)
  call_for_all('ZADD', SCHEDULED, scheduled)
  call_for_all('ZADD', READY, ready)
  call_for_all('HSET', STANDING, equal)
  ring()
end
return remember(said)
