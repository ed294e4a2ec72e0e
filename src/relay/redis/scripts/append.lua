-- Appends to a room's history and publishes there, in one step.
-- KEYS: meta, stream, and the once-key if the publication has a key of its own.
-- ARGV: message, channel, PUBLISH or SPUBLISH, how many are kept, for how many
-- milliseconds, an epoch for a history that has none, the once-window in milliseconds,
-- this server's address, or nothing if there is no other; and the other masters'.
-- Returns epoch, offset, and 1 if it was appended before.
local meta, stream, once = KEYS[1], KEYS[2], KEYS[3]
local age = tonumber(ARGV[5])
if once then
  local seen = redis.call('GET', once)
  if seen then
    return { string.sub(seen, 1, 16), string.sub(seen, 17), 1 }
  end
end
local known = redis.call('HMGET', meta, 'e', 'o', 'a')
local epoch, last = known[1], tonumber(known[2])
if not epoch or not last then
  epoch, last = ARGV[6], 0
  if redis.call('TYPE', stream).ok == 'stream' then
    redis.call('DEL', stream)
  end
end
-- A server that takes the place of another may lack what that had confirmed last, and
-- would give its offsets to others: what it has is another history, unless the other
-- is there and has handed it over.
local at = ARGV[8]
if epoch and known[3] and known[3] ~= at then
  local is_there = false
  for index = 9, #ARGV do
    is_there = is_there or ARGV[index] == known[3]
  end
  if not is_there then
    epoch = ARGV[6]
  end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local offset = string.format('%.0f', last + 1)
-- The stream first: if it is refused, nothing has changed. An entry's id is its offset and
-- its time.
local id = offset .. '-' .. string.format('%.0f', now)
redis.call('XADD', stream, 'MAXLEN', ARGV[4], id, 'm', ARGV[1])
redis.call('HSET', meta, 'e', epoch, 'o', offset, 'a', at)
redis.call('PEXPIRE', stream, string.format('%.0f', age + 10000))
redis.call('PEXPIRE', meta, string.format('%.0f', age + 86400000))
if once then
  redis.call('SET', once, epoch .. offset, 'PX', ARGV[7])
end
-- The old ones are removed now and then, more at once than come between; who reads
-- removes the rest.
if last % 16 == 0 then
  local cut
  for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+', 'COUNT', 32)) do
    if tonumber(string.match(entry[1], '%-(%d+)$')) >= now - age then break end
    cut = string.format('%.0f', tonumber(string.match(entry[1], '^(%d+)')) + 1)
  end
  if cut then
    redis.call('XTRIM', stream, 'MINID', cut)
  end
end
redis.call(ARGV[3], ARGV[2], '\241' .. epoch .. offset .. ';' .. ARGV[1])
return { epoch, offset, 0 }
