-- Ends a lease: its record is deleted, and only who deletes it credits what was left, to the day it was of and no other. After a
-- rollover, in a store that was emptied, or once it was told of as lost, nothing is credited.
--
-- KEYS    limits:leases, the counter
-- ARGV    the record, its day, units left
-- Answers the units credited
if redis.call("ZREM", KEYS[1], ARGV[1]) == 0 then
  return 0
end
local stored = redis.call("HMGET", KEYS[2], "day", "used")
if stored[1] ~= ARGV[2] then
  return 0
end
local credit = math.min(tonumber(ARGV[3]), tonumber(stored[2]))
if credit > 0 then
  redis.call("HINCRBY", KEYS[2], "used", whole(-credit))
end
return credit
