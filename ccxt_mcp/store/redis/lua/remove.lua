-- KEYS: 1 record, 2 latencies, 3 what its last removal answered. ARGV: 1 whose removal this is, 2 for how
-- long it may be repeated.
--
-- The first write takes away, which a server that is full allows; what follows it may then grow.

local nodes = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 2) == 'n:' then
    nodes[#nodes + 1] = string.sub(field, 3)
  end
end
redis.call('DEL', KEYS[2])
if redis.call('DEL', KEYS[1]) == 0 then
  local told = redis.call('GET', KEYS[3])
  if not told or string.match(told, '^%S+') ~= ARGV[1] then
    return false
  end
  -- Done before, on a connection that was cut: nobody has heard whom to tell.
  for node in string.gmatch(string.sub(told, #ARGV[1] + 1), '%S+') do
    nodes[#nodes + 1] = node
  end
  return nodes
end
redis.call('SET', KEYS[3], ARGV[1] .. ' ' .. table.concat(nodes, ' '), 'PX', ms(ARGV[2]))
return nodes
