-- KEYS: 1 members by when they joined, 2 members by when they end.

local now = now_us()
while true do
  local ended = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', whole(now), 'LIMIT', 0, 1000)
  if #ended == 0 then
    break
  end
  redis.call('ZREM', KEYS[1], unpack(ended))
  redis.call('ZREM', KEYS[2], unpack(ended))
end
