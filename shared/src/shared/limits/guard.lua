-- One try of an address at what only failing makes suspicious: paid for before it is made, so that many at once are counted.
--
-- KEYS    the address's hash {tat, strikes, until}
-- ARGV    now, quota, window, longest wait, forgotten after (microseconds)
--
-- Within the quota (GCRA, as in counters.lua) it passes. Beyond it, it passes too, as a strike: each makes the next one wait, 1 s,
-- 2 s, 4 s … up to the longest. What comes while it is to wait is refused, and changes nothing.
--
-- Answers {1 passed, 0 refused, whether it was a strike, microseconds to wait}
local now, longest = clock(ARGV[1]), tonumber(ARGV[4])
local stored = redis.call("HMGET", KEYS[1], "tat", "strikes", "until")
local ends = tonumber(stored[3] or "0")
if ends > now + longest then -- of a clock that was set back since
  ends = now + longest
  redis.call("HSET", KEYS[1], "until", whole(ends))
end
if ends > now then
  return {0, 0, ends - now}
end

local interval = math.ceil(tonumber(ARGV[3]) / tonumber(ARGV[2]))
local span = interval * tonumber(ARGV[2])
local tat = math.min(math.max(tonumber(stored[1] or "0"), now), now + span)
local strikes = ends + tonumber(ARGV[5]) > now and tonumber(stored[2] or "0") or 0
local strike = tat + interval > now + span
if strike then
  strikes = strikes + 1
  ends = now + math.min(1000000 * 2 ^ math.min(strikes - 1, 40), longest)
else
  tat = tat + interval
end
redis.call("HSET", KEYS[1], "tat", whole(tat), "strikes", whole(strikes), "until", whole(ends))
redis.call("PEXPIRE", KEYS[1], math.ceil((span + longest + tonumber(ARGV[5])) / 1000))
return {1, strike and 1 or 0, 0}
