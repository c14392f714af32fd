-- One decision over any number of policies: all of them admit, or nothing is spent.
--
-- KEYS[1] limits:epoch, then the counter of each policy
-- ARGV    now ("": the store's), the epoch that the caller knows ("": any), the holder of a slot, then five a policy:
--         kind, quota, window in microseconds (of slots: how long one lasts unrenewed), cost (0 only looks), shadow (1: does not
--         refuse; it is not spent from either while it would)
--
-- Answers {1 admitted, 0 refused, -1 of another epoch, now}, and each policy's {violated, remaining, reset, retry}
local now = clock(ARGV[1])
if ARGV[2] ~= "" and redis.call("GET", KEYS[1]) ~= ARGV[2] then
  return {-1, now}
end

local states, admitted = {}, true
for i = 2, #KEYS do
  local at = 4 + (i - 2) * 5
  local s = counters[ARGV[at]](KEYS[i], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), now, ARGV[3])
  s.cost = tonumber(ARGV[at + 3])
  admitted = admitted and (not s.violated or ARGV[at + 4] == "1")
  states[#states + 1] = s
end

local answer = {admitted and 1 or 0, now}
for _, s in ipairs(states) do
  if admitted and not s.violated and s.cost > 0 then
    s.take(s.cost)
  end
  answer[#answer + 1] = s.violated and 1 or 0
  answer[#answer + 1] = s.remaining
  answer[#answer + 1] = s.reset
  answer[#answer + 1] = s.violated and s.retry or 0
end
return answer
