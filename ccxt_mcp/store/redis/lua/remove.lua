-- KEYS: 1 record, 2 latencies.

local nodes = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 2) == 'n:' then
    nodes[#nodes + 1] = string.sub(field, 3)
  end
end
redis.call('DEL', KEYS[2])
if redis.call('DEL', KEYS[1]) == 0 then
  return false
end
return nodes
