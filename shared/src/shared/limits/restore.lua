-- Makes counters of a day good again: raised to at least what somebody knows was used, and by what was spent without the store.
-- A counter that has gone on to a later day is left alone.
--
-- KEYS    the counters
-- ARGV    three a counter: day, used at least, units more
-- Answers how many units were added in all
local added = 0
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 3
  local of = tonumber(ARGV[at + 1])
  local stored = redis.call("HMGET", key, "day", "used")
  local counted = tonumber(stored[1] or "-1")
  if counted <= of then
    local used = counted == of and tonumber(stored[2]) or 0
    local now_used = math.max(used, tonumber(ARGV[at + 2])) + tonumber(ARGV[at + 3])
    redis.call("HSET", key, "day", whole(of), "used", whole(now_used))
    redis.call("PEXPIRE", key, KEPT)
    added = added + now_used - used
  end
end
return added
