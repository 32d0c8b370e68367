-- What every verb begins with. KEYS and the first five of ARGV are the same for all.
local META, READY, SCHEDULED, LEASED, DEAD, STANDING, TASK, WORK, BELL, CALL = unpack(KEYS)
local made, now, epoch, number, dedupe = unpack(ARGV, 1, 5)
if redis.call('HGET', META, 'made') ~= made then return {'gone'} end
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%012d%06d', time[1], time[2])
end

-- An instant is text, 18 digits of microseconds since 1970: a double is exact for 285 years only.
local function later(seconds, micros)
  local whole = tonumber(string.sub(now, 1, 12)) + tonumber(seconds)
  local part = tonumber(string.sub(now, 13)) + tonumber(micros)
  if part >= 1000000 then whole, part = whole + 1, part - 1000000 end
  local instant = string.format('%012d%06d', whole, part)
  return instant < '253402300799999999' and instant or '253402300799999999'
end
