-- A gateway is alive; and is the store the one that it knows? The epoch is a mark that is gone when the store was emptied: then
-- whoever comes first makes a new one.
--
-- KEYS    limits:epoch, limits:gateways (a sorted set by the millisecond at which they count as gone)
-- ARGV    now, the epoch to make where there is none, the gateway, for how long it is alive (microseconds; 0: it leaves)
-- Answers {epoch, microseconds since it was made, gateways alive}
local now = clock(ARGV[1])
redis.call("SET", KEYS[1], ARGV[2] .. ":" .. whole(now), "NX")
local epoch = redis.call("GET", KEYS[1])
if tonumber(ARGV[4]) > 0 then
  redis.call("ZADD", KEYS[2], math.ceil((now + tonumber(ARGV[4])) / 1000), ARGV[3])
else
  redis.call("ZREM", KEYS[2], ARGV[3])
end
redis.call("ZREMRANGEBYSCORE", KEYS[2], "-inf", math.floor(now / 1000))
return {epoch, now - tonumber(string.match(epoch, ":(%d+)$")), redis.call("ZCARD", KEYS[2])}
