-- KEYS: 1 entries (a stream), 2 hash of last, floor (all after it is here), dropped, held (bytes).
-- ARGV: 1 entry, 2 how many at most, 3 how many bytes, 4 life.

local meta = redis.call('HMGET', KEYS[2], 'last', 'floor', 'dropped', 'held')
local number = math.max(now_us(), meta[1] and meta[1] + 1 or 0)
local floor, dropped, held = meta[2] or whole(number), meta[3] or '0', (meta[4] or 0) + #ARGV[1]
redis.call('XADD', KEYS[1], whole(number) .. '-1', 'e', ARGV[1])
local count = redis.call('XLEN', KEYS[1])
while count > 0 and (count > tonumber(ARGV[2]) or held > tonumber(ARGV[3])) do
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', KEYS[1], first[1])
  held = held - #first[2][2]
  floor, dropped = string.match(first[1], '^%d+'), '1'
  count = count - 1
end
redis.call('HSET', KEYS[2], 'last', whole(number), 'floor', floor, 'dropped', dropped,
  'held', whole(held))
redis.call('PEXPIRE', KEYS[1], ms(ARGV[4]))
redis.call('PEXPIRE', KEYS[2], ms(ARGV[4]))
return whole(number)
