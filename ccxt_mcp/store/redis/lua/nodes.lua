-- KEYS as of `beat`.

local now = now_us()
local all = redis.call('HGETALL', KEYS[1])
local live = {}
for i = 1, #all, 2 do
  local ends, said = string.match(all[i + 1], '^(%d+) (.*)$')
  if tonumber(ends) > now then
    live[#live + 1] = all[i]
    live[#live + 1] = said
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return live
