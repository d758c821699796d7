-- KEYS: 1 hash of node → end and what it says. ARGV: 1 node, 2 life, 3 what it says.

redis.call('HSET', KEYS[1], ARGV[1], whole(now_us() + ARGV[2]) .. ' ' .. ARGV[3])
at_least(KEYS[1], tonumber(ARGV[2]))
return 1
