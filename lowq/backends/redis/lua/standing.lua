-- Which tasks refuse an equal push: for each digest the numbers, of 16 digits each, smallest first.
local function stand(digest, seq)
  if dedupe == 'off' then return end
  local there = redis.call('HGET', STANDING, digest)
  if there then
    local all = {seq}
    for other in string.gmatch(there, '%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d') do
      if other ~= seq then all[#all + 1] = other end
    end
    table.sort(all)
    seq = table.concat(all)
  end
  redis.call('HSET', STANDING, digest, seq)
end

local function unstand(digest, seq)
  if dedupe == 'off' then return end
  local there = redis.call('HGET', STANDING, digest)
  if there == seq then
    redis.call('HDEL', STANDING, digest)
  elseif there then
    local all = {}
    for other in string.gmatch(there, '%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d') do
      if other ~= seq then all[#all + 1] = other end
    end
    redis.call('HSET', STANDING, digest, table.concat(all))
  end
end
