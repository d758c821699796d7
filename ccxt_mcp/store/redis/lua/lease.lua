-- KEYS: 1 leases of the shard, 2 line, 3 who waits in it, 4 record, 5 latencies. ARGV: 1 name, 2 token,
-- 3 length, 4 what the channels of nodes begin with.
--
-- The leases of a shard are one hash without expiry: whatever takes one of them away (a flush, an
-- eviction, a server that has come back with nothing) takes the mark of its age away as well, and the
-- server's run id beside it tells of one that has come back with old data; a clock that was set back
-- counts as that. Then nothing is granted for one length. Fields: `born` = time and run id; `=<name>` = holder, end, mark before, mark, last use.

local now = now_us()
local length = tonumber(ARGV[3])
local MARK_LIFE = 86400000000
local lease = {holder = '', ends = 0, base = '0', mark = '0'}
local known = false
-- Whether this server's clock has been set back since: then nothing says when a lease ends.
local back = false
local STEP = 250000

local packed, birth_mark = unpack(redis.call('HMGET', KEYS[1], '=' .. ARGV[1], 'born'))
if packed then
  local holder, ends, base, mark, used = string.match(packed, '^(%S*) (%d+) (%d+) (%d+) (%d+)$')
  known = true
  ends = tonumber(ends)
  if tonumber(used) + MARK_LIFE <= now then
    base, mark = '0', '0'
  end
  back = tonumber(used) > now + STEP
  if ends <= now or back then
    holder, ends = '', 0
  end
  lease = {holder = holder, ends = ends, base = base, mark = mark}
end

-- Marks may be larger than what Lua's numbers hold exactly: they are kept and compared as digits.
local function higher(a, b)
  if #a ~= #b then
    return #a > #b and a or b
  end
  return a > b and a or b
end

local function plus(digits, number)
  if #digits < 15 then
    return whole(tonumber(digits) + number)
  end
  local head, tail = tonumber(string.sub(digits, 1, -13)), tonumber(string.sub(digits, -12)) + number
  local carry = math.floor(tail / 1e12)
  return whole(head + carry) .. string.format('%012.0f', tail - carry * 1e12)
end

local function save()
  if lease.holder == '' and lease.mark == '0' then
    if known then
      redis.call('HDEL', KEYS[1], '=' .. ARGV[1])
    end
    return
  end
  redis.call('HSET', KEYS[1], '=' .. ARGV[1], table.concat(
    {lease.holder, whole(lease.ends), lease.base, lease.mark, whole(now)}, ' '))
  if not known and now % 8 == 0 then
    -- What has ended and was not given up is found by chance, as the server's own expiry does it: two
    -- are looked at for each that comes, many at once.
    local some = redis.call('HRANDFIELD', KEYS[1], 16, 'WITHVALUES')
    for i = 1, #some, 2 do
      local ends, mark, used = string.match(some[i + 1], '^%S* (%d+) %d+ (%d+) (%d+)$')
      if ends and tonumber(ends) <= now
          and (mark == '0' or tonumber(used) + MARK_LIFE <= now) then
        redis.call('HDEL', KEYS[1], some[i])
      end
    end
  end
end

-- When the shard was found empty, or found by a server that has come anew; and whether just now.
local function birth()
  local ok, info = pcall(redis.call, 'INFO', 'server')
  local run = ok and type(info) == 'string' and string.match(info, 'run_id:(%x+)') or '-'
  local born, of = string.match(birth_mark or '', '^(%d+) (%S+)$')
  if of == run and not back and tonumber(born) <= now + STEP then
    return tonumber(born), 0
  end
  if back then
    back = false
    save()
  end
  birth_mark = whole(now) .. ' ' .. run
  redis.call('HSET', KEYS[1], 'born', birth_mark)
  return now, 1
end

-- Leave holding and line.
local function leave(token)
  redis.call('ZREM', KEYS[2], token)
  redis.call('HDEL', KEYS[3], token)
  if lease.holder == token then
    lease.holder, lease.ends = '', 0
  end
end

local function hold(token)
  lease.holder, lease.ends, lease.base = token, now + length, lease.mark
end

-- A lease that nobody holds is the first one's whose claim is alive.
local function promote(asking)
  while lease.holder == '' do
    local token = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
    if not token then
      return
    end
    local ends, node = string.match(redis.call('HGET', KEYS[3], token) or '', '^(%d+) (%S+)$')
    leave(token)
    if ends and tonumber(ends) > now then
      hold(token)
      if token ~= asking then
        -- Nobody has asked now, and who was to ask may be gone: its claim is worth no more than before.
        lease.ends = tonumber(ends)
        redis.call('PUBLISH', ARGV[4] .. node, 'granted ' .. ARGV[1] .. ' ' .. token)
      end
    end
  end
end
