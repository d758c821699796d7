-- KEYS: 1 value (hash of b(ytes), s(ince)), 2 duty (hash of token, since, patience), 3 nodes that wait.
-- ARGV: 1 name, 2 token, 3 what the channels of nodes begin with.

local function tell()
  local nodes = redis.call('SMEMBERS', KEYS[3])
  redis.call('DEL', KEYS[2], KEYS[3])
  for _, node in ipairs(nodes) do
    redis.call('PUBLISH', ARGV[3] .. node, 'deposited ' .. ARGV[1])
  end
end
