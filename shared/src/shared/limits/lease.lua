-- Debits a block of every policy at once, to be spent by one gateway; nothing where any has too little left.
--
-- KEYS    limits:epoch, limits:leases, then the counter of each policy
-- ARGV    now, epoch (as in decide.lua), the record's name, when it is lost if nobody gave it back (microseconds from now), then
--         five a policy: kind, quota, window in microseconds, units wanted, units that must remain
--
-- A block of a day is written down in limits:leases, a sorted set by the millisecond at which it is lost, as
-- "<name> <day> <units> <counter>"; one of a burst is not: it ends before it could be given back.
--
-- Answers {1 granted, 0 refused, -1 of another epoch, now}, and each policy's {remaining, reset, day or 0}
local now = clock(ARGV[1])
if ARGV[2] ~= "" and redis.call("GET", KEYS[1]) ~= ARGV[2] then
  return {-1, now}
end

local states = {}
for i = 3, #KEYS do
  local at = 5 + (i - 3) * 5
  local units = tonumber(ARGV[at + 3])
  local s = counters[ARGV[at]](KEYS[i], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), units, now, "")
  if s.violated or s.remaining - units < tonumber(ARGV[at + 4]) then
    return {0, now}
  end
  s.key, s.units = KEYS[i], units
  states[#states + 1] = s
end

local answer = {1, now}
for _, s in ipairs(states) do
  s:take(s.units)
  if s.day then
    local record = table.concat({ARGV[3], whole(s.day), whole(s.units), s.key}, " ")
    redis.call("ZADD", KEYS[2], math.ceil((now + tonumber(ARGV[4])) / 1000), record)
  end
  answer[#answer + 1] = s.remaining
  answer[#answer + 1] = s.reset
  answer[#answer + 1] = s.day or 0
end
return answer
