-- A record: hash of d(ata), v(ersion), m(ade), u(sed), x (life after use, microseconds), t:… (tally),
-- n:… (nodes); its last latencies are a list beside it.

local function use_record(record, latencies, now, ttl, least)
  redis.call('HSET', record, 'u', whole(now), 'x', whole(ttl))
  local life = ms(math.max(ttl, least))
  redis.call('PEXPIRE', record, life)
  redis.call('PEXPIRE', latencies, life)
end
