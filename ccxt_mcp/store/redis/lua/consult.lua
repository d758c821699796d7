-- ARGV: 4 node, 5 oldest age, 6 patience.

local now = now_us()
local oldest = tonumber(ARGV[5])
local duty = redis.call('HMGET', KEYS[2], 'token', 'since', 'patience')
if duty[1] == ARGV[2] then
  -- It lives: who waits for it may go on to.
  redis.call('HSET', KEYS[2], 'patience', whole(now - duty[2] + ARGV[6]))
  redis.call('PEXPIRE', KEYS[2], ms(2 * ARGV[6]))
  redis.call('PEXPIRE', KEYS[3], ms(2 * ARGV[6]))
  return {1}
end
local value = redis.call('HMGET', KEYS[1], 's', 'b')
local age = value[1] and now - value[1]
-- Below zero: the clock was set back, and nobody knows.
if age and age >= 0 and age <= oldest then
  return {0, whole(age), value[2]}
end
if duty[1] and now - duty[2] < tonumber(duty[3]) and now - duty[2] <= oldest then
  redis.call('SADD', KEYS[3], ARGV[4])
  redis.call('PEXPIRE', KEYS[3], redis.call('PTTL', KEYS[2]))
  return {0}
end
redis.call('HSET', KEYS[2], 'token', ARGV[2], 'since', whole(now), 'patience', ARGV[6])
-- Who waits outlives a fetcher that was given up.
redis.call('PEXPIRE', KEYS[2], ms(2 * ARGV[6]))
redis.call('PEXPIRE', KEYS[3], ms(2 * ARGV[6]))
return {1}
