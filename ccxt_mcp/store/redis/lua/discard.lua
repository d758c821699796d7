redis.call('DEL', KEYS[1])
tell()
return 1
