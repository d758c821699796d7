redis.call('DEL', KEYS[1], KEYS[4])
tell()
return 1
