-- KEYS: pairs of record, latencies. ARGV: 1 life.

local now = now_us()
local there = {}
for i = 1, #KEYS, 2 do
  there[#there + 1] = redis.call('EXISTS', KEYS[i])
  if there[#there] == 1 then
    use_record(KEYS[i], KEYS[i + 1], now, tonumber(ARGV[1]), 0)
  end
end
return there
