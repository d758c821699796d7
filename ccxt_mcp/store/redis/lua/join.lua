-- ARGV: 1 member, 2 life, 3 how many at most.

if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
    return {0, redis.call('ZRANGE', KEYS[2], 0, 0)[1]}
  end
  local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
  redis.call('ZADD', KEYS[1], whole(math.max(now, last and last + 1 or 0)), ARGV[1])
end
redis.call('ZADD', KEYS[2], whole(now + ARGV[2]), ARGV[1])
at_least(KEYS[1], tonumber(ARGV[2]))
at_least(KEYS[2], tonumber(ARGV[2]))
return {1}
