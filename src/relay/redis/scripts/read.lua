-- Reads a room's history behind an offset.
-- KEYS: meta, stream. ARGV: the offset, how many, for how many milliseconds publications
-- are kept, an epoch for a history that has none, this server's address, or nothing if
-- there is no other; and the other masters'.
-- Returns epoch, last offset, the oldest that is kept, and the entries.
local meta, stream = KEYS[1], KEYS[2]
local age = tonumber(ARGV[3])
local known = redis.call('HMGET', meta, 'e', 'o', 'a')
local epoch, last = known[1], tonumber(known[2])
if not epoch or not last then
  epoch, last = ARGV[4], 0
  if redis.call('TYPE', stream).ok == 'stream' then
    redis.call('DEL', stream)
  end
  redis.call('HSET', meta, 'e', epoch, 'o', '0', 'a', ARGV[5])
  redis.call('PEXPIRE', meta, string.format('%.0f', age + 86400000))
end
-- A server that takes the place of another may lack what that had confirmed last, and
-- would give its offsets to others: what it has is another history, unless the other
-- is there and has handed it over.
local at = ARGV[5]
if epoch and known[3] and known[3] ~= at then
  local is_there = false
  for index = 6, #ARGV do
    is_there = is_there or ARGV[index] == known[3]
  end
  if not is_there then
    epoch = ARGV[4]
    redis.call('HSET', meta, 'e', epoch, 'a', at)
  end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local first = last + 1
for _ = 1, 1000 do
  local entries = redis.call('XRANGE', stream, '-', '+', 'COUNT', 8)
  local cut, kept
  for _, entry in ipairs(entries) do
    local at = tonumber(string.match(entry[1], '^(%d+)'))
    if tonumber(string.match(entry[1], '%-(%d+)$')) >= now - age then
      kept = at
      break
    end
    cut = string.format('%.0f', at + 1)
  end
  if cut then
    redis.call('XTRIM', stream, 'MINID', cut)
  end
  if kept then
    first = kept
    break
  end
  if #entries == 0 then break end
end
local entries = {}
if ARGV[2] ~= '0' then
  local after = string.format('%.0f', tonumber(ARGV[1]) + 1)
  entries = redis.call('XRANGE', stream, after, '+', 'COUNT', ARGV[2])
end
return { epoch, string.format('%.0f', last), string.format('%.0f', first), entries }
