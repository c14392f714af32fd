-- Decisions, one after the other, over counters of the same policies: all of them admit, or nothing is spent.
--
-- KEYS[1] limits:epoch, then the counters of each decision
-- ARGV    now ("": the store's), the epoch that the caller knows ("": any), how many policies, and five a policy: kind, quota,
--         window in microseconds (of slots: how long one lasts unrenewed), cost (0 only looks), shadow (1: does not refuse; it is
--         not spent from either while it would); then of each decision the holder of a slot
--
-- Answers of each decision {1 admitted, 0 refused, -1 of another epoch, now}, and each policy's {violated, remaining, reset, retry}
local now = clock(ARGV[1])
local is_other = ARGV[2] ~= "" and call("GET", KEYS[1]) ~= ARGV[2]
local policies = {}
for i = 1, tonumber(ARGV[3]) do
  local at = 5 * i - 1
  policies[i] = {
    counter = counters[ARGV[at]], quota = tonumber(ARGV[at + 1]), window = tonumber(ARGV[at + 2]), cost = tonumber(ARGV[at + 3]),
    shadow = ARGV[at + 4] == "1",
  }
end

local function decide(holder, key)
  local states, admitted = {}, true
  for i, p in ipairs(policies) do
    local s = p.counter(KEYS[key + i], p.quota, p.window, p.cost, now, holder)
    admitted = admitted and (not s.violated or p.shadow)
    states[i] = s
  end

  local answer = {admitted and 1 or 0, now}
  for i, s in ipairs(states) do
    local cost, to = policies[i].cost, 4 * i
    if admitted and not s.violated and cost > 0 then
      s:take(cost)
    end
    answer[to - 1], answer[to], answer[to + 1] = s.violated and 1 or 0, s.remaining, s.reset
    answer[to + 2] = s.violated and s.retry or 0
  end
  return answer
end

local answers, holders = {}, 3 + 5 * #policies
for i = 1, #ARGV - holders do
  answers[i] = is_other and {-1, now} or decide(ARGV[holders + i], 1 + (i - 1) * #policies)
end
return answers
