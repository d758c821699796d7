-- KEYS as of `append`. ARGV: 1 number.

return {redis.call('HMGET', KEYS[2], 'last', 'floor', 'dropped'),
  redis.call('XRANGE', KEYS[1], whole(ARGV[1] + 1), '+')}
