-- The task of a lease that is still the caller's; or nil, and the task as it is now.
local function held(seq, when, token)
  local task = read(seq)
  if not task or task[EPOCH] ~= when then return nil, nil end
  if task[TOKEN] == token then return task end
  return nil, told(seq, task)
end
