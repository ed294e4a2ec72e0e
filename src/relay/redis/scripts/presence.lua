-- Who is present in a room: one script, so that all of it agrees.
-- KEYS: until when each connection is present (sorted set), who each is (hash), how many
-- connections each has (hash).
-- ARGV: enter, leave, expire or list; the room's channel; PUBLISH or SPUBLISH; for
-- how many milliseconds; who. A connection's id has 36 bytes, and what follows it is `u` and
-- its user, or nothing.
local untils, whos, counts = KEYS[1], KEYS[2], KEYS[3]
local what, who = ARGV[1], ARGV[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function key_of(member)
  if #member > 36 then return string.sub(member, 37) end
  return 'c' .. member
end

local function tell(change, member)
  redis.call(ARGV[3], ARGV[2], '\242' .. change .. member)
end

local function leave(client)
  redis.call('ZREM', untils, client)
  local member = redis.call('HGET', whos, client)
  if not member then return end
  redis.call('HDEL', whos, client)
  local key = key_of(member)
  if redis.call('HINCRBY', counts, key, -1) <= 0 then
    redis.call('HDEL', counts, key)
    tell('-', member)
  end
end

if what == 'enter' then
  local client = string.sub(who, 1, 36)
  local known = redis.call('HGET', whos, client)
  if known and known ~= who then
    leave(client)
    known = nil
  end
  local ttl = tonumber(ARGV[4])
  redis.call('ZADD', untils, string.format('%.0f', now + ttl), client)
  if not known then
    redis.call('HSET', whos, client, who)
    if redis.call('HINCRBY', counts, key_of(who), 1) == 1 then
      tell('+', who)
    end
  end
  -- Nothing is left for ever if all nodes end at once.
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, string.format('%.0f', ttl * 2 + 60000))
  end
  return 0
end
if what == 'leave' then
  leave(string.sub(who, 1, 36))
  return 0
end
local late = redis.call('ZRANGEBYSCORE', untils, '-inf', now, 'LIMIT', 0, 1000)
for _, client in ipairs(late) do
  leave(client)
end
if what == 'expire' then return #late end
return redis.call('HVALS', whos)
