// Runs the guide's own browser client, as it is, against a server.
//
//     node guide.cjs ws://127.0.0.1:PORT
'use strict';

const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const vm = require('node:vm');

// Node has a WebSocket of its own from version 22 on.
globalThis.WebSocket ??= require('ws');

const source = readFileSync(join(__dirname, 'guide_client.js'), 'utf8');
const WebSocketClient = vm.runInThisContext(`${source}\nWebSocketClient`);

const server = process.argv[2];

/** Collects what a client hears of one type; `next` waits for the next one. */
function listen(client, type) {
  const arrived = [];
  const waiting = [];
  client.on(type, (msg) => {
    const taker = waiting.shift();
    if (taker) taker(msg);
    else arrived.push(msg);
  });
  return {
    arrived,
    next: () =>
      arrived.length > 0
        ? Promise.resolve(arrived.shift())
        : new Promise((resolve) => waiting.push(resolve)),
  };
}

async function connect() {
  const client = new WebSocketClient(`${server}/ws`);
  const heard = {};
  for (const type of ['connected', 'subscribed', 'unsubscribed', 'message', 'error']) {
    heard[type] = listen(client, type);
  }
  await client.connect();
  const id = (await heard.connected.next()).data.client_id;
  assert.match(id, /^[0-9a-f-]{36}$/);
  return { client, heard, id };
}

async function main() {
  const alice = await connect();
  const bob = await connect();
  assert.notEqual(alice.id, bob.id);

  alice.client.subscribe('notifications');
  assert.deepEqual((await alice.heard.subscribed.next()).data, {
    room: 'notifications',
    client_count: 1,
  });
  bob.client.subscribe('notifications');
  assert.equal((await bob.heard.subscribed.next()).data.client_count, 2);

  bob.client.publish('notifications', { message: 'Hello!', list: [1, null, 'é€𝄞'] });
  for (const { heard } of [alice, bob]) {
    const msg = await heard.message.next();
    assert.equal(msg.room, 'notifications');
    assert.equal(msg.client_id, bob.id);
    assert.deepEqual(msg.data, { message: 'Hello!', list: [1, null, 'é€𝄞'] });
    assert.ok(Math.abs(Date.now() - msg.timestamp) < 60_000);
  }

  alice.client.unsubscribe('notifications');
  assert.equal((await alice.heard.unsubscribed.next()).room, 'notifications');
  alice.client.publish('notifications', 'not heard');
  assert.equal((await alice.heard.error.next()).error, 'not subscribed to this room');

  alice.client.broadcast('to all');
  for (const { heard } of [alice, bob]) {
    const msg = await heard.message.next();
    assert.equal(msg.data, 'to all');
    assert.equal(msg.client_id, alice.id);
    assert.ok(!('room' in msg));
  }

  for (const { client } of [alice, bob]) {
    const closed = new Promise((resolve) => (client.ws.onclose = resolve));
    client.close();
    assert.equal((await closed).wasClean, true);
  }
  for (const { heard } of [alice, bob]) {
    for (const [type, { arrived }] of Object.entries(heard)) {
      assert.deepEqual(arrived, [], `more of ${type}`);
    }
  }
}

main().then(
  () => console.log('guide: ok'),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
