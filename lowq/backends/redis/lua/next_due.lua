-- needs: base
-- The first instant at which something falls due or a lease ends.
local due = false
for _, place in ipairs({SCHEDULED, LEASED}) do
  local first = redis.call('ZRANGE', place, 0, 0)[1]
  if first and (not due or first < due) then due = first end
end
return {'ok', now, due and string.sub(due, 1, 18)}
