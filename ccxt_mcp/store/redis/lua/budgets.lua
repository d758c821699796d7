-- One budget: `mechanisms/ledger.py` and the line of those who wait, on the store's clock.
-- The arithmetic is the ledger's, step by step; a test holds the two against each other.
--
-- KEYS  1 the budget, 2 the ban of its place (both on one node)
-- ARGV  1 the time, for tests; '' for the store's own
--       2 rate, 3 burst, 4 transit, 5 patience, 6 how many windows; then limit and seconds of each;
--       then what the caller remembers: born ('' for nothing), counted, age, blocked;
--       then three for each act: what, charge, amount
-- Returns granted, wait, outlook, blocked, counted, pace, strikes, born, room

local EPS, SLOTS, SLOWEST, LOOK_AHEAD = 1e-9, 120, 0.2, 3.0
local max, min = math.max, math.min

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local rate, burst, transit, patience = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local next_arg = 7

-- born, at, used, flying, pace (the bucket's rate now), blocked, strikes,
-- windows {seconds, held, {begin, end, cost, ...}}, open {charge, cost, due}, line {charge, cost, until}
local state
local packed = redis.call('GET', KEYS[1])
if packed then
  state = cmsgpack.unpack(packed)
else
  state = {string.format('%.17g', now), now, 0, 0, rate, 0, 0, {}, {}, {}}
end
local born, at, used, flying, pace, blocked, strikes, kept, open, line = unpack(state)
pace = min(pace, rate)

local ban, banned_at = 0, now
local told = redis.call('GET', KEYS[2])
if told then
  ban, banned_at = string.match(told, '^(%S+) (%S+)$')
  ban, banned_at = tonumber(ban), tonumber(banned_at)
end

-- A clock that was set back must not make everybody wait until it is there again: no time has passed.
local function back_in_time(from)
  return now < from - 1 and from - now or 0
end
local back = back_in_time(at)
if back > 0 then
  at, blocked = at - back, blocked - back
  for _, window in ipairs(kept) do
    for i = 1, #window[3], 3 do
      window[3][i], window[3][i + 1] = window[3][i] - back, window[3][i + 1] - back
    end
  end
  for _, each in ipairs(open) do
    each[3] = each[3] - back
  end
  for _, each in ipairs(line) do
    each[3] = each[3] - back
  end
end

local function keep_ban()
  redis.call(
    'SET', KEYS[2], string.format('%.17g %.17g', ban, now),
    'PX', math.max(1, math.ceil((ban - now) * 1000) + 1000)
  )
end
back = back_in_time(banned_at)
if back > 0 then
  ban = ban - back
  keep_ban()
end

local windows, longest = {}, nil
for i = 1, tonumber(ARGV[6]) do
  local limit, seconds = tonumber(ARGV[next_arg]), tonumber(ARGV[next_arg + 1])
  next_arg = next_arg + 2
  local window = {limit = limit, seconds = seconds, width = seconds / SLOTS, held = 0, slots = {}}
  for _, each in ipairs(kept) do
    if each[1] == seconds then
      window.held, window.slots = each[2], each[3]
    end
  end
  windows[i] = window
  if not longest or seconds > longest.seconds then
    longest = window
  end
end

local function slow_down(time)
  local slowest = rate
  for _, window in ipairs(windows) do
    local room, slots = window.limit - window.held - flying, window.slots
    local least = (room + window.held) / window.seconds
    for i = 1, #slots, 3 do
      local ahead = slots[i + 1] - time
      if ahead > LOOK_AHEAD and room < least * ahead then
        least = room / ahead
      end
      room = room + slots[i + 2]
    end
    slowest = min(slowest, max(least, 0))
  end
  pace = max(slowest, SLOWEST * rate)
end

local function remember(cost, time)
  local changed = false
  for _, window in ipairs(windows) do
    local slots = window.slots
    local last = #slots - 2
    window.held = window.held + cost
    if last > 0 and time < slots[last] + window.width then
      slots[last + 1] = time + window.seconds
      slots[last + 2] = slots[last + 2] + cost
    else
      slots[last + 3], slots[last + 4], slots[last + 5] = time, time + window.seconds, cost
      changed = true
    end
  end
  if changed then
    slow_down(time)
  end
end

local function forget()
  local changed = false
  for _, window in ipairs(windows) do
    local slots, first = window.slots, 1
    while slots[first] and slots[first + 1] <= now do
      window.held = window.held - slots[first + 2]
      first = first + 3
    end
    if first > 1 then
      changed = true
      local rest = {}
      for i = first, #slots do
        rest[#rest + 1] = slots[i]
      end
      window.slots = rest
      if #rest == 0 then
        window.held = 0
      end
    end
  end
  if changed then
    slow_down(now)
  end
end

local function drain(time)
  local passed = time - at
  if passed > 0 then
    at = time
    if used ~= 0 then
      used = max(0, used - passed * pace)
    end
  end
end

local function close(cost)
  flying = max(0, flying - cost)
  if flying < EPS then
    flying = 0
  end
end

local function settle(cost, time)
  close(cost)
  used = used + cost
  remember(cost, time)
end

local function counted()
  return (longest and longest.held or used) + flying
end

local function room()
  if #line > 0 then
    return 0
  end
  local least = burst - used
  for _, window in ipairs(windows) do
    least = min(least, window.limit - window.held)
  end
  return max(0, least - flying)
end

local function room_in(window, lacking)
  local slots = window.slots
  for i = 1, #slots, 3 do
    lacking = lacking - slots[i + 2]
    if lacking <= EPS then
      return slots[i + 1] - now
    end
  end
  return nil
end

local function delay(ahead, cost)
  local lacking = used + flying + ahead + min(cost, burst) - burst
  local wait = 0
  if lacking > EPS then
    wait = lacking / pace
    if pace < rate then
      wait = min(wait, longest.seconds + lacking / rate)
    end
  end
  for _, window in ipairs(windows) do
    local limit = window.limit
    lacking = window.held + flying + ahead + min(cost, limit) - limit
    if lacking > EPS then
      wait = max(wait, room_in(window, lacking) or window.seconds * max(1, lacking / limit))
    end
  end
  return wait
end

local function next_look(cost)
  local landing, latest = 1, 0
  for _, each in ipairs(open) do
    if each[2] >= 0 then
      landing = max(0, each[3] - now)
      break
    end
  end
  local lacking = used + flying + min(cost, burst) - burst
  if lacking > EPS then
    latest = used >= lacking and lacking / pace or landing
    if pace < rate then
      for _, window in ipairs(windows) do
        local slots = window.slots
        latest = min(latest, slots[1] and max(window.width, slots[2] - now) or window.seconds)
      end
    end
  end
  for _, window in ipairs(windows) do
    lacking = window.held + flying + min(cost, window.limit) - window.limit
    if lacking > EPS then
      latest = max(latest, room_in(window, lacking) or landing)
    end
  end
  return latest
end

-- Let time pass.
local passed = 0
while open[passed + 1] and open[passed + 1][3] <= now do
  passed = passed + 1
  -- It began to age when it fell due, not when somebody looked.
  drain(open[passed][3])
  settle(open[passed][2], at)
end
local places = {}
local still = {}
for i = passed + 1, #open do
  still[#still + 1] = open[i]
  places[open[i][1]] = open[i]
end
open = still
drain(now)
forget()
still = {}
for _, each in ipairs(line) do
  if each[3] > now then
    still[#still + 1] = each
  end
end
line = still

-- What the caller remembers and the store has forgotten.
local k_born, k_counted, k_age, k_blocked =
  ARGV[next_arg], tonumber(ARGV[next_arg + 1]), tonumber(ARGV[next_arg + 2]), tonumber(ARGV[next_arg + 3])
next_arg = next_arg + 4

local function observe(amount)
  local foreign = amount - counted()
  if foreign > EPS and longest then
    remember(foreign, now)
  end
end

if k_born ~= '' and k_born ~= born then
  observe(k_counted)
  if not longest then
    used = max(used, k_counted - k_age * rate)
  end
  blocked = max(blocked, now + k_blocked)
end

-- A charge that ends keeps its place in `open`, with a cost below 0, until the state is kept.
local function take(charge, cost)
  flying = flying + cost
  local entry = {charge, cost, now + transit}
  open[#open + 1] = entry
  places[charge] = entry
end

local function leave(charge)
  local entry = places[charge]
  if not entry then
    return nil
  end
  local cost = entry[2]
  places[charge] = nil
  entry[2] = -1
  return cost
end

local function spot(charge)
  local ahead = 0
  for i, each in ipairs(line) do
    if each[1] == charge then
      return i, ahead
    end
    ahead = ahead + each[2]
  end
  return nil, ahead
end

local granted, wait, outlook, refused = 0, 0, 0, false
for i = next_arg, #ARGV, 3 do
  local what, charge, amount = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  if what == 't' then
    if refused then
      -- Behind one that does not fit.
    elseif places[charge] then
      granted = granted + 1
    elseif max(blocked, ban) > now then
      refused, wait = true, max(blocked, ban) - now
      outlook = wait
    else
      local place, ahead = spot(charge)
      outlook = delay(ahead, amount)
      if outlook == 0 then
        if place then
          table.remove(line, place)
        end
        take(charge, amount)
        granted = granted + 1
      else
        refused = true
        wait = ahead > 0 and outlook or next_look(amount)
        if place then
          line[place][2], line[place][3] = amount, now + patience
        else
          line[#line + 1] = {charge, amount, now + patience}
        end
      end
    end
  elseif what == 'p' then
    if places[charge] then
      granted = granted + 1
    elseif not refused and max(blocked, ban) <= now and room() + EPS >= amount then
      take(charge, amount)
      granted = granted + 1
    end
  elseif what == 'h' then
    local cost = leave(charge)
    if cost then
      close(cost)
    end
    take(charge, amount)
  elseif what == 's' then
    local cost = leave(charge)
    if cost then
      settle(cost, now)
    end
  elseif what == 'r' then
    local cost = leave(charge)
    if cost then
      close(cost)
    end
    local place = spot(charge)
    if place then
      table.remove(line, place)
    end
  elseif what == 'o' then
    observe(amount)
  elseif what == 'e' then
    used = max(used, burst)
  elseif what == 'b' then
    blocked = max(blocked, now + amount)
  elseif what == 'n' then
    ban = max(ban, now + amount)
    keep_ban()
  elseif what == 'k' then
    strikes = amount
  end
end

still = {}
for _, each in ipairs(open) do
  if each[2] >= 0 then
    still[#still + 1] = each
  end
end
kept = {}
for i, window in ipairs(windows) do
  kept[i] = {window.seconds, window.held, window.slots}
end
local life = (longest and longest.seconds or 0) + transit + (used + flying) / (SLOWEST * rate)
life = max(life, blocked - now) + 1
redis.call(
  'SET', KEYS[1],
  cmsgpack.pack({born, at, used, flying, pace, blocked, strikes, kept, still, line}),
  'PX', math.ceil(life * 1000)
)

local function text(number)
  return string.format('%.17g', number)
end

return {
  granted, text(wait), text(outlook), text(max(0, max(blocked, ban) - now)), text(counted()), text(1 / pace), strikes, born,
  text(room()),
}
