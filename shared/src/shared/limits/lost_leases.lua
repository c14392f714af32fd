-- Takes out the leases that nobody gave back in time: their gateway died, and what it had not spent is lost to the caller.
-- KEYS limits:leases; ARGV now, at most how many. Answers their records
local records = redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", "(" .. whole(math.floor(clock(ARGV[1]) / 1000)), "LIMIT", 0, ARGV[2])
for _, record in ipairs(records) do
  redis.call("ZREM", KEYS[1], record)
end
return records
