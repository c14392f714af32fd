-- Takes one of a subject's concurrency slots, or renews its holder's. A slot whose holder died frees itself when its lease runs out.
-- KEYS[1] sorted set of holders by expiry; ARGV: limit, holder, lease in milliseconds. Answers 1 when taken.
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", now)
if not redis.call("ZSCORE", KEYS[1], ARGV[2]) and redis.call("ZCARD", KEYS[1]) >= tonumber(ARGV[1]) then
  return 0
end
redis.call("ZADD", KEYS[1], now + tonumber(ARGV[3]), ARGV[2])
redis.call("PEXPIRE", KEYS[1], tonumber(ARGV[3]) + 1000)
return 1
