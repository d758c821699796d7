if lease.holder ~= ARGV[2] then
  return 0
end
lease.ends = now + length
save()
local life = redis.call('HGET', KEYS[4], 'x')
if life then
  use_record(KEYS[4], KEYS[5], now, tonumber(life), length)
end
return 1
