-- ARGV: 4 life, 5 the value.

local kept = redis.call('GET', KEYS[4])
if kept then
  return kept
end
redis.call('SET', KEYS[4], ARGV[5], 'PX', ms(ARGV[4]))
return ARGV[5]
