-- KEYS: 1 record, 2 latencies, 3 leases of the shard. ARGV: 1 name, 2 node or nothing, 3 whether to make
-- it, 4 data, 5 life.

local now = now_us()
local made = 0
if redis.call('EXISTS', KEYS[1]) == 0 then
  if ARGV[3] == '0' then
    return false
  end
  made = 1
  -- Above the version of any earlier record of this name: writes are rarer than microseconds.
  redis.call('HSET', KEYS[1], 'd', ARGV[4], 'v', whole(now), 'm', whole(now), 'u', whole(now))
  redis.call('DEL', KEYS[2])
end
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'n:' .. ARGV[2], '')
end
local fields = redis.call('HGETALL', KEYS[1])
local latencies = redis.call('LRANGE', KEYS[2], 0, -1)
if ARGV[3] == '1' then
  use_record(KEYS[1], KEYS[2], now, tonumber(ARGV[5]), 0)
end
local lease = redis.call('HGET', KEYS[3], '=' .. ARGV[1])
local held = 0
if lease then
  local holder, ends = string.match(lease, '^(%S*) (%d+)')
  if holder ~= '' and tonumber(ends) > now then
    held = 1
  end
end
return {made, whole(now), held, fields, latencies}
