-- ARGV: 1 life, then members.

for i = 2, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[2], whole(now + ARGV[1]), ARGV[i])
  end
end
at_least(KEYS[1], tonumber(ARGV[1]))
at_least(KEYS[2], tonumber(ARGV[1]))
return 1
