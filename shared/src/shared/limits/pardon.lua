-- A try that did not fail has cost nothing: it is taken back, with the wait that it had made.
-- KEYS the address's hash, as in guard.lua; ARGV now, quota, window, whether it was a strike
local stored = redis.call("HMGET", KEYS[1], "tat", "strikes", "until")
if not stored[1] then
  return 0
end
if ARGV[4] == "1" then
  local ends = math.min(tonumber(stored[3]), clock(ARGV[1]))
  redis.call("HSET", KEYS[1], "strikes", whole(math.max(tonumber(stored[2]) - 1, 0)), "until", whole(ends))
else
  redis.call("HSET", KEYS[1], "tat", whole(tonumber(stored[1]) - math.ceil(tonumber(ARGV[3]) / tonumber(ARGV[2]))))
end
return 1
