-- What every script of the limiter is made with: the clock, and the three kinds of counter. It stands before each of them.
--
-- A counter answers with a table: violated (by this cost), retry (microseconds until it would not be), remaining and reset
-- (microseconds until it is whole again) as they are now, and take(state, cost), after which both are as they are then. The table
-- is made whole at once, and take is no closure: each of the two takes a script longer than one of its calls.
local call, ceil, floor, max, format = redis.call, math.ceil, math.floor, math.max, string.format
local DAY = 86400000000
-- milliseconds that the counter of a day is kept from when its day begins or is restored: two days beyond that day
local KEPT = 259200000

-- microseconds since 1970: the given ones, or for "" the store's own
local function clock(given)
  if given ~= "" then
    return tonumber(given)
  end
  local time = call("TIME")
  return time[1] * 1000000 + time[2]
end

-- of what is whole: by itself Lua would write 14 digits
local function whole(number)
  return format("%d", number)
end

local function take_burst(s, spent)
  local tat = s.tat + spent * s.interval
  local ahead = tat - s.now
  call("SET", s.key, whole(tat), "PX", whole(ceil(ahead / 1000) + 1000))
  s.tat, s.remaining, s.reset = tat, floor((s.span - ahead) / s.interval), ahead
end

-- GCRA (ITU-T I.371, virtual scheduling): the counter is the theoretical arrival time. The emission interval is rounded up to a
-- whole microsecond, so that the law "at most q + q*t/w in any t" holds whatever the rounding. An arrival time further away than
-- that of an empty counter is of a clock that was set back since, or of a larger quota: it is empty, and fills again from now on.
local function burst(key, quota, window, cost, now)
  local interval = ceil(window / quota)
  local span = interval * quota
  local tat = max(tonumber(call("GET", key) or now), now)
  if tat > now + span then
    tat = now + span
    call("SET", key, whole(tat), "PX", whole(ceil(span / 1000) + 1000))
  end
  local ahead = tat - now
  local retry = ahead + cost * interval - span
  return {
    key = key, now = now, tat = tat, interval = interval, span = span, take = take_burst,
    violated = retry > 0, retry = retry, remaining = floor((span - ahead) / interval), reset = ahead,
  }
end

local function take_day(s, spent)
  local used = s.used + spent
  call("HSET", s.key, "day", whole(s.day), "used", whole(used))
  if s.used_on ~= s.day or s.day > s.today then
    call("PEXPIRE", s.key, KEPT)
  end
  s.used, s.remaining = used, max(s.quota - used, 0)
end

-- A hash {day, used}, day counted from 1970-01-01 UTC (docs/adr/0004). A clock that was set back goes on with the day it had
-- reached, so that no day's quota is given out twice.
local function day(key, quota, _window, cost, now)
  local stored = call("HMGET", key, "day", "used")
  local used_on, today = tonumber(stored[1] or -1), floor(now / DAY)
  local its = max(today, used_on)
  local used = its == used_on and tonumber(stored[2]) or 0
  local reset = (its + 1) * DAY - now
  return {
    key = key, quota = quota, day = its, today = today, used_on = used_on, used = used, take = take_day,
    violated = used + cost > quota, retry = reset, remaining = max(quota - used, 0), reset = reset,
  }
end

local function take_slot(s)
  call("ZADD", s.key, s.ends, s.holder)
  call("PEXPIRE", s.key, s.last + 1000)
  s.remaining = max(s.limit - s.held - (s.mine and 0 or 1), 0)
end

-- A sorted set of holders by the millisecond at which they end: a slot whose holder died frees itself. A holder's own is renewed.
local function slots(key, limit, lease, _cost, now, holder)
  local at, last = floor(now / 1000), floor(lease / 1000)
  call("ZREMRANGEBYSCORE", key, "-inf", at)
  local held, mine = call("ZCARD", key), call("ZSCORE", key, holder)
  return {
    key = key, limit = limit, held = held, mine = mine, holder = holder, ends = at + last, last = last, take = take_slot,
    violated = not mine and held >= limit, retry = 1000000, remaining = max(limit - held, 0), reset = 0,
  }
end

local counters = {burst = burst, day = day, slots = slots}
