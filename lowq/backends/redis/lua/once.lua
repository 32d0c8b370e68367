-- A call whose answer did not come is sent again under its number: it is then answered as before, and does nothing.
local before = redis.call('GET', CALL)
if before then
  local bar = string.find(before, '|', 1, true)
  local last = tonumber(string.sub(before, 1, bar - 1))
  if last > tonumber(number) then return {'late'} end
  if last == tonumber(number) then
    local said = cmsgpack.unpack(string.sub(before, bar + 1))
    if said[1] ~= 'claimed' then return said end
    local again = {}
    for _, seq in ipairs(said[4]) do
      local task = read(seq)
      if task and task[TOKEN] and string.sub(task[TOKEN], 1, #said[3]) == said[3] then
        again[#again + 1] = told(seq, task)
      end
    end
    return {'ok', now, said[2], said[5], again}
  end
end

-- The last write of a call, since it needs memory, and a call that frees some goes on where there is none.
local function remember(said)
  redis.call('SET', CALL, number .. '|' .. cmsgpack.pack(said), 'PX', 600000)
  return said
end
