-- KEYS: 1 record, 2 latencies. ARGV: 1 data, 2 life.

local version = redis.call('HGET', KEYS[1], 'v')
if not version then
  return false
end
local now = now_us()
local next = whole(math.max(now, version + 1))
redis.call('HSET', KEYS[1], 'd', ARGV[1], 'v', next)
use_record(KEYS[1], KEYS[2], now, tonumber(ARGV[2]), 0)
return next
