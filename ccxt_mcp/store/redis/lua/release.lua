-- ARGV: 5 the mark really used, or nothing; then pairs: counter, what is added (`latencyMs`: kept).
--
-- The first write takes away, which a server that is full allows; what follows it may then grow.

local token = ARGV[2]
local holds = lease.holder == token
if redis.call('ZREM', KEYS[2], token) == 0 and not holds then
  return 0
end
local wanted = not holds or redis.call('ZCARD', KEYS[2]) > 0
if wanted then
  leave(token)
else
  lease.holder, lease.ends = '', 0
end
if holds and ARGV[5] ~= '' then
  lease.mark = higher(lease.base, ARGV[5])
end
if wanted and birth() + length <= now then
  promote('')
end
save()
local life = redis.call('HGET', KEYS[4], 'x')
if life then
  for i = 6, #ARGV, 2 do
    if ARGV[i] == 'latencyMs' then
      redis.call('LPUSH', KEYS[5], ARGV[i + 1])
      redis.call('LTRIM', KEYS[5], 0, 63)
    else
      redis.call('HINCRBYFLOAT', KEYS[4], 't:' .. ARGV[i], ARGV[i + 1])
    end
  end
  use_record(KEYS[4], KEYS[5], now, tonumber(life), wanted and length or 0)
end
return 1
