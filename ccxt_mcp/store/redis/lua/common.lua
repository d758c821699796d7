-- In front of every script. Time is this server's, in microseconds.

local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Numbers as text: Lua's own way rounds.
local function whole(number)
  return string.format('%.0f', number)
end

-- Microseconds as the milliseconds that PEXPIRE wants, never none.
local function ms(us)
  return whole(math.max(1, math.ceil(us / 1000)))
end

-- Let a key live for so long, unless it lives longer anyway.
local function at_least(key, us)
  if redis.call('PTTL', key) * 1000 < us then
    redis.call('PEXPIRE', key, ms(us))
  end
end
