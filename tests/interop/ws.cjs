// Runs the npm package `ws` against a server that takes messages of 400,000
// bytes.
//
//     node ws.cjs ws://127.0.0.1:PORT
'use strict';

const assert = require('node:assert/strict');
const { once } = require('node:events');
const WebSocket = require('ws');

const server = process.argv[2];
const SIZES = [0, 1, 125, 126, 65_535, 65_536, 300_000];

/** A connected client and what it has heard, in order. */
async function connect(path, protocols = []) {
  const socket = new WebSocket(`${server}${path}`, protocols);
  const arrived = [];
  const waiting = [];
  socket.on('message', (data, binary) => {
    const message = binary ? data : data.toString();
    const taker = waiting.shift();
    if (taker) taker(message);
    else arrived.push(message);
  });
  await once(socket, 'open');
  const next = () =>
    arrived.length > 0
      ? Promise.resolve(arrived.shift())
      : new Promise((resolve) => waiting.push(resolve));
  return {
    socket,
    next,
    say: (message) => socket.send(JSON.stringify(message)),
    hear: async () => JSON.parse(await next()),
  };
}

async function closeCode(socket) {
  const [code] = await once(socket, 'close');
  return code;
}

async function quickStart() {
  const [one, two] = [await connect('/ws'), await connect('/ws')];
  const ids = [];
  for (const client of [one, two]) {
    const greeting = await client.hear();
    assert.equal(greeting.type, 'connected');
    ids.push(greeting.data.client_id);
  }
  one.say({ type: 'subscribe', room: 'chat' });
  assert.equal((await one.hear()).data.client_count, 1);
  two.say({ type: 'subscribe', room: 'chat' });
  assert.equal((await two.hear()).data.client_count, 2);
  two.say({ type: 'publish', room: 'chat', data: { message: 'Hello!' } });
  for (const client of [one, two]) {
    const { timestamp, ...message } = await client.hear();
    assert.equal(typeof timestamp, 'number');
    assert.deepEqual(message, {
      type: 'message',
      room: 'chat',
      data: { message: 'Hello!' },
      client_id: ids[1],
    });
  }
  for (const client of [one, two]) {
    client.socket.close(1000);
    assert.equal(await closeCode(client.socket), 1000);
  }
}

async function echoes() {
  const { socket, next } = await connect('/ws/raw');
  for (const size of SIZES) {
    const bytes = Buffer.alloc(size, 'binary\xff\x00', 'latin1');
    socket.send(bytes);
    assert.ok(bytes.equals(await next()), `${size} bytes`);
    const text = 'abcdefghij'.repeat(size / 10) + 'x'.repeat(size % 10);
    socket.send(text);
    assert.equal(await next(), text);
  }
  socket.terminate();
}

async function fragments() {
  const { socket, next } = await connect('/ws/raw');
  const word = Buffer.from('κόσμε€𝄞');
  for (const at of [...word.keys()].slice(1)) {
    socket.send(word.subarray(0, at), { fin: false, binary: false });
    socket.ping('between');
    const pong = once(socket, 'pong');
    socket.send(word.subarray(at), { fin: true, binary: false });
    assert.equal(await next(), 'κόσμε€𝄞');
    assert.equal((await pong)[0].toString(), 'between');
  }
  for (let index = 0; index < 100; index++) {
    socket.send(Buffer.alloc(3000, index), { fin: index === 99, binary: true });
  }
  const whole = await next();
  assert.equal(whole.length, 300_000);
  for (let index = 0; index < 100; index++) assert.equal(whole[index * 3000], index);
  socket.terminate();
}

async function closeCodes() {
  for (const code of [1000, 1001, 3000, 4000, 4999]) {
    const { socket } = await connect('/ws/raw');
    socket.close(code, 'goodbye');
    assert.equal(await closeCode(socket), code);
  }
  const bare = await connect('/ws/raw');
  bare.socket.close();
  assert.equal(await closeCode(bare.socket), 1005);

  const big = await connect('/ws/raw');
  big.socket.send(Buffer.alloc(400_001));
  assert.equal(await closeCode(big.socket), 1009);

  const bad = await connect('/ws/raw');
  bad.socket.send(Buffer.from([0x61, 0xff]), { binary: false });
  assert.equal(await closeCode(bad.socket), 1007);
}

async function subprotocols() {
  const { socket, next } = await connect('/ws', ['nonsense', 'shardcast.raw']);
  assert.equal(socket.protocol, 'shardcast.raw');
  socket.send('{"type":"ping"}');
  assert.equal(await next(), '{"type":"ping"}');
  socket.terminate();
}

async function refusals() {
  for (const [path, status] of [['/nonsense', 404], ['/ws/nonsense', 404]]) {
    const socket = new WebSocket(`${server}${path}`);
    const [, response] = await once(socket, 'unexpected-response');
    assert.equal(response.statusCode, status);
    socket.on('error', () => {});
    socket.terminate();
  }
}

async function main() {
  for (const part of [quickStart, echoes, fragments, closeCodes, subprotocols, refusals]) {
    await part();
    console.log(`ws: ${part.name} ok`);
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
