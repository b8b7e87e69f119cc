"""What Redis runs: one atomic script for all limits of several calls, by its own clock.

A rate is kept as ``AHEAD:AT``: how many parts of a microsecond its theoretical arrival time lay ahead at ``AT``
microseconds. That is the same number as in ``kit/gcra.py`` told from another point, and it stays small
enough for Lua, whose numbers are exact up to 2^53. A quota is a count under a key of its own for each period.

``KEYS``: of every limit in the question, once. ``ARGV[1]``, MessagePack: calls, each a list of charges, each
``[place in KEYS, kind, scale or most, step, most, cost]``; kind 0 is a rate, 1 to 4 a quota an hour, day, week, month.
``ARGV[2]``: 1 to charge whatever the limits say; a cost below 0 gives back. The answer: for each call microseconds to
wait (-1: for ever), which charge refused it (0: none), and of every charge units left and microseconds until all are.
"""

from __future__ import annotations

from typing import Final

SCRIPT: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local ms = math.floor(now / 1000)
local known = {}

local function month(days)
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local number = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (number <= 2 and 1 or 0)
  local length = ({31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31})[number]
  if number == 2 and (year % 4 == 0 and year % 100 ~= 0 or year % 400 == 0) then length = 29 end
  return days - day + 1, length
end

local function period(kind)
  if kind == 4 then
    local first, length = month(math.floor(ms / 86400000))
    return first * 86400000, (first + length) * 86400000
  end
  local length = ({3600000, 86400000, 604800000})[kind]
  local offset = kind == 3 and 345600000 or 0
  local begins = ms - (ms - offset) % length
  return begins, begins + length
end

local function look(charge)
  local place, kind = charge[1], charge[2]
  local one = known[place]
  if one then return one end
  one = {kind = kind, value = 0, key = KEYS[place]}
  if kind == 0 then
    one.scale = charge[3]
    local ahead, at = string.match(redis.call('GET', one.key) or '', '^(%d+):(%d+)$')
    if ahead then
      local gone = now - tonumber(at)
      if gone < 0 then gone = 0; one.changed = true end
      one.value = math.max(0, tonumber(ahead) - gone * one.scale)
    end
  else
    local begins
    begins, one.ends = period(kind)
    one.key = string.format('%s:%.0f', one.key, begins)
    one.value = tonumber(redis.call('GET', one.key) or '0')
  end
  known[place] = one
  return one
end

local answers = {}
for number, call in ipairs(cmsgpack.unpack(ARGV[1])) do
  local wait, refused = 0, 0
  for index, charge in ipairs(call) do
    local one, cost, need = look(charge), charge[6], 0
    if charge[2] == 0 then
      local over = one.value + cost * charge[4] - charge[5]
      if over > 0 then
        need = cost * charge[4] > charge[5] and -1 or math.ceil(over / one.scale)
      end
    elseif one.value + cost > charge[5] then
      need = cost > charge[5] and -1 or (one.ends - ms) * 1000
    end
    if need == -1 and wait ~= -1 or wait ~= -1 and need > wait then wait, refused = need, index end
  end
  local left = {}
  for index, charge in ipairs(call) do
    local one = look(charge)
    if refused == 0 or ARGV[2] == '1' then
      one.value = math.max(0, one.value + charge[6] * (charge[2] == 0 and charge[4] or 1))
      one.changed = true
    end
    if charge[2] == 0 then
      left[2 * index - 1] = math.max(0, math.floor((charge[5] - one.value) / charge[4]))
      left[2 * index] = math.ceil(one.value / one.scale)
    else
      left[2 * index - 1] = math.max(0, charge[5] - one.value)
      left[2 * index] = (one.ends - ms) * 1000
    end
  end
  answers[number] = {wait, refused, left}
end

for _, one in pairs(known) do
  if one.changed then
    if one.kind == 0 then
      local ttl = math.ceil(one.value / one.scale / 1000) + 1000
      redis.call('SET', one.key, string.format('%.0f:%.0f', one.value, now), 'PX', string.format('%.0f', ttl))
    else
      redis.call('SET', one.key, string.format('%.0f', one.value), 'PX', string.format('%.0f', one.ends - ms + 60000))
    end
  end
end
return cmsgpack.pack(answers)
"""
