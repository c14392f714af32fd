-- What every script of the limiter is made with: the clock, and the three kinds of counter. It stands before each of them.
--
-- A counter answers with a table: violated (by this cost), retry (microseconds until it would not be), remaining and reset
-- (microseconds until it is whole again) as they are now, and take(cost), after which both are as they are then.
local DAY = 86400000000

-- microseconds since 1970: the given ones, or for "" the store's own
local function clock(given)
  if given ~= "" then
    return tonumber(given)
  end
  local time = redis.call("TIME")
  return time[1] * 1000000 + time[2]
end

local function whole(number)
  return string.format("%.0f", number)
end

-- GCRA (ITU-T I.371, virtual scheduling): the counter is the theoretical arrival time. The emission interval is rounded up to a
-- whole microsecond, so that the law "at most q + q*t/w in any t" holds whatever the rounding. An arrival time further away than
-- that of an empty counter is of a clock that was set back since, or of a larger quota: it is empty, and fills again from now on.
local function burst(key, quota, window, cost, now)
  local interval = math.ceil(window / quota)
  local span = interval * quota
  local tat = math.max(tonumber(redis.call("GET", key) or "0"), now)
  if tat > now + span then
    tat = now + span
    redis.call("SET", key, whole(tat), "PX", math.ceil(span / 1000) + 1000)
  end
  local s = {retry = tat + cost * interval - now - span}
  s.violated = s.retry > 0
  local function look()
    s.remaining, s.reset = math.floor((span - (tat - now)) / interval), tat - now
  end
  function s.take(spent)
    tat = tat + spent * interval
    redis.call("SET", key, whole(tat), "PX", math.ceil((tat - now) / 1000) + 1000)
    look()
  end
  look()
  return s
end

-- A hash {day, used}, day counted from 1970-01-01 UTC (docs/adr/0004). A clock that was set back goes on with the day it had
-- reached, so that no day's quota is given out twice.
local function day(key, quota, _window, cost, now)
  local stored = redis.call("HMGET", key, "day", "used")
  local counted = tonumber(stored[1] or "-1")
  local s = {day = math.max(math.floor(now / DAY), counted)}
  local used = s.day == counted and tonumber(stored[2]) or 0
  s.reset = (s.day + 1) * DAY - now
  s.retry, s.violated, s.remaining = s.reset, used + cost > quota, math.max(quota - used, 0)
  function s.take(spent)
    used = used + spent
    redis.call("HSET", key, "day", whole(s.day), "used", whole(used))
    redis.call("PEXPIRE", key, 172800000)
    s.remaining = math.max(quota - used, 0)
  end
  return s
end

-- A sorted set of holders by the millisecond at which they end: a slot whose holder died frees itself. A holder's own is renewed.
local function slots(key, limit, lease, _cost, now, holder)
  local at, last = math.floor(now / 1000), math.floor(lease / 1000)
  redis.call("ZREMRANGEBYSCORE", key, "-inf", at)
  local held = redis.call("ZCARD", key)
  local mine = redis.call("ZSCORE", key, holder)
  local s = {violated = not mine and held >= limit, retry = 1000000, remaining = math.max(limit - held, 0), reset = 0}
  function s.take()
    redis.call("ZADD", key, at + last, holder)
    redis.call("PEXPIRE", key, last + 1000)
    s.remaining = math.max(limit - held - (mine and 0 or 1), 0)
  end
  return s
end

local counters = {burst = burst, day = day, slots = slots}
