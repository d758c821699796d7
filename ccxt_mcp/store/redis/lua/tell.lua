-- KEYS: 1 a channel: a key only so that a cluster's messages come by the node where all listen.

return redis.call('PUBLISH', KEYS[1], ARGV[1])
