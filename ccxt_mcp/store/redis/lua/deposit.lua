-- ARGV: 4 life, 5 the value, absent after a failure.

local duty = redis.call('HMGET', KEYS[2], 'token', 'since')
if duty[1] ~= ARGV[2] then
  return 0
end
if ARGV[5] then
  redis.call('HSET', KEYS[1], 's', duty[2], 'b', ARGV[5])
  redis.call('PEXPIRE', KEYS[1], ms(ARGV[4]))
end
tell()
return 1
