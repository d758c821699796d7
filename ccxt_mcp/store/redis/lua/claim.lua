-- ARGV: 5 node, 6 reserve, 7 ahead, 8 whether a record has to be there, 9 its life.

local token = ARGV[2]
local version = redis.call('HGET', KEYS[4], 'v')
if ARGV[8] == '1' then
  if not version then
    leave(token)
    if birth() + length <= now then
      promote('')
    end
    save()
    return {'missing', 0, '0', '0', 0}
  end
  -- The latencies' life is set by the release or renewal that follows.
  redis.call('HSET', KEYS[4], 'u', whole(now), 'x', ARGV[9], 'n:' .. ARGV[5], '')
  redis.call('PEXPIRE', KEYS[4], ms(math.max(tonumber(ARGV[9]), length)))
end

local fresh = 0
if lease.holder == token then
  lease.ends = now + length
else
  local born
  born, fresh = birth()
  local waiting = redis.call('ZCARD', KEYS[2])
  local young = born + length - now
  if waiting == 0 and lease.holder == '' and young <= 0 then
    hold(token)
  else
    if not redis.call('ZSCORE', KEYS[2], token) then
      if waiting % 64 == 63 then
        -- Whoever is gone from the middle of the line is not kept for long.
        local all = redis.call('HGETALL', KEYS[3])
        for i = 1, #all, 2 do
          if tonumber(string.match(all[i + 1], '^%d+')) <= now then
            redis.call('ZREM', KEYS[2], all[i])
            redis.call('HDEL', KEYS[3], all[i])
          end
        end
      end
      local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
      redis.call('ZADD', KEYS[2], whole(math.max(now, last and last + 1 or 0)), token)
    end
    redis.call('HSET', KEYS[3], token, whole(now + length) .. ' ' .. ARGV[5])
    at_least(KEYS[2], 2 * length)
    at_least(KEYS[3], 2 * length)
    if young > 0 then
      return {'young', whole(young), '0', version or '0', fresh}
    end
    promote(token)
  end
end

if lease.holder == token then
  lease.mark = higher(lease.mark, higher(ARGV[6], plus(lease.base, tonumber(ARGV[7]))))
  save()
  return {'granted', whole(length), lease.base, version or '0', fresh}
end
save()
return {'waiting', whole(math.min(lease.ends - now, length / 3)), '0', version or '0', fresh}
