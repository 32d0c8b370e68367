-- needs: base
-- How many are scheduled, ready, leased and dead; a lease that ran out counts as ready.
local past = '[' .. now .. ';'
local due, out = redis.call('ZLEXCOUNT', SCHEDULED, '-', past), redis.call('ZLEXCOUNT', LEASED, '-', past)
return {
  'ok', now, redis.call('ZCARD', SCHEDULED) - due, redis.call('ZCARD', READY) + due + out,
  redis.call('ZCARD', LEASED) - out, redis.call('ZCARD', DEAD)
}
