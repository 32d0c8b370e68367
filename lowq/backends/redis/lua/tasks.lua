-- needs: base record standing promote
-- A page of the tasks of these states, one state after the other, each from its place on.
-- ARGV from 6: how many at most; then for each state (R S L D): the state, and where the page begins: '' at its start,
-- or behind a rank and number, a time and number, a number.
if not promote() then return {'again'} end
local left, found = tonumber(ARGV[6]), {}

local function add(seqs)
  for _, seq in ipairs(seqs) do
    if left == 0 then return end
    local task = read(seq)
    if task then
      found[#found + 1] = told(seq, task)
      left = left - 1
    end
  end
end

-- How many ready ones stand up to that rank and number: by halves, among those of the rank.
local function up_to(rank, number_)
  local low = redis.call('ZCOUNT', READY, '-inf', '(' .. rank)
  local high = low + redis.call('ZCOUNT', READY, rank, rank)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if redis.call('ZRANGE', READY, middle, middle)[1] <= number_ then low = middle + 1 else high = middle end
  end
  return low
end

local index = 7
while index <= #ARGV and left > 0 do
  local state, behind = ARGV[index], ARGV[index + 1]
  if state == 'R' then
    local start = 0
    if behind ~= '' then start = up_to(string.match(behind, '^(.*):'), string.sub(behind, -16)) end
    add(redis.call('ZRANGE', READY, start, start + left - 1))
  elseif state == 'S' then
    local seqs = {}
    local from = behind == '' and '-' or '(' .. behind
    for _, member in ipairs(redis.call('ZRANGEBYLEX', SCHEDULED, from, '+', 'LIMIT', 0, left)) do
      seqs[#seqs + 1] = string.sub(member, 20)
    end
    add(seqs)
  elseif state == 'L' then
    local seqs = {}
    for _, member in ipairs(redis.call('ZRANGE', LEASED, 0, -1)) do
      local seq = string.sub(member, 20)
      if seq > behind then seqs[#seqs + 1] = seq end
    end
    table.sort(seqs)
    add(seqs)
  else
    local from = behind == '' and '-inf' or '(' .. behind
    add(redis.call('ZRANGEBYSCORE', DEAD, from, '+inf', 'LIMIT', 0, left))
  end
  index = index + 2
end
return {'ok', now, found}
