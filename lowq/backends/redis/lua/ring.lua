-- One of those who wait is woken; where nobody does, the next one looks at once. Never more than one ring is kept.
local function ring()
  if redis.call('LLEN', BELL) == 0 then redis.call('LPUSH', BELL, '1') end
end
