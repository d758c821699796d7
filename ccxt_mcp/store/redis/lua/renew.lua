-- A first write that takes away is allowed by a server that is full, and so is what follows it: who
-- holds a lease keeps it.

if lease.holder ~= ARGV[2] then
  return 0
end
redis.call('HDEL', KEYS[1], '')
lease.ends = now + length
save()
local life = redis.call('HGET', KEYS[4], 'x')
if life then
  use_record(KEYS[4], KEYS[5], now, tonumber(life), length)
end
return 1
