-- One decision over any number of policies: all of them admit, or nothing is spent.
--
-- KEYS[i]  the counter of policy i
-- ARGV[1]  now in microseconds since 1970, or "" for the store's own clock
-- then four a policy: kind ("burst" | "day"), quota, window in microseconds, cost (0 only looks)
--
-- burst is GCRA (ITU-T I.371, virtual scheduling): the counter is the theoretical arrival time. The emission interval is rounded up
-- to a whole microsecond, so that the law "at most q + q*t/w in any t" holds whatever the rounding.
-- day is a hash {day, used}, day counted from 1970-01-01 UTC.
--
-- Answers {admitted, then for each policy: violated, remaining, microseconds until it is whole again, microseconds until a retry can pass}
local now
if ARGV[1] == "" then
  local time = redis.call("TIME")
  now = time[1] * 1000000 + time[2]
else
  now = tonumber(ARGV[1])
end

local DAY = 86400000000
local states, admitted = {}, true
for i, key in ipairs(KEYS) do
  local at = 2 + (i - 1) * 4
  local s = {kind = ARGV[at], quota = tonumber(ARGV[at + 1]), window = tonumber(ARGV[at + 2]), cost = tonumber(ARGV[at + 3])}
  if s.kind == "burst" then
    s.interval = math.ceil(s.window / s.quota)
    s.span = s.interval * s.quota
    s.tat = math.max(tonumber(redis.call("GET", key) or "0"), now)
    s.violated = s.tat + s.cost * s.interval - now > s.span
    s.retry = s.tat + s.cost * s.interval - now - s.span
  else
    s.day = math.floor(now / DAY)
    local stored = redis.call("HMGET", key, "day", "used")
    s.used = (stored[1] and tonumber(stored[1]) == s.day) and tonumber(stored[2]) or 0
    s.violated = s.used + s.cost > s.quota
    s.retry = (s.day + 1) * DAY - now
  end
  admitted = admitted and not s.violated
  states[i] = s
end

local answer = {admitted and 1 or 0}
for i, key in ipairs(KEYS) do
  local s = states[i]
  local spent = admitted and s.cost or 0
  local remaining, reset
  if s.kind == "burst" then
    local tat = s.tat + spent * s.interval
    if spent > 0 then
      redis.call("SET", key, string.format("%.0f", tat), "PX", math.ceil((tat - now) / 1000) + 1000)
    end
    remaining = math.floor((s.span - (tat - now)) / s.interval)
    reset = tat - now
  else
    if spent > 0 then
      redis.call("HSET", key, "day", string.format("%.0f", s.day), "used", string.format("%.0f", s.used + spent))
      redis.call("PEXPIRE", key, 172800000)
    end
    remaining = s.quota - s.used - spent
    reset = (s.day + 1) * DAY - now
  end
  answer[#answer + 1] = s.violated and 1 or 0
  answer[#answer + 1] = math.max(remaining, 0)
  answer[#answer + 1] = reset
  answer[#answer + 1] = s.violated and s.retry or 0
end
return answer
