// The reader of event streams, against what the WHATWG rules say, however the bytes are cut.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pageModule } from './helpers/page-module.js';

const { frames } = await pageModule('shared/frames.js');

async function read(text, size) {
  const bytes = new TextEncoder().encode(text);
  const body = new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
      controller.close();
    },
  });
  const events = [];
  for await (const event of frames(body, () => {})) events.push(event);
  return events;
}

const STREAM = 'retry: 2500\r\n: a comment\r\n\r\nid: e.1\ndata: {"a":1}\n\ndata: first\rdata:second\r\rid: e.2\r\ndata: üñí 🛒\r\n\r\ndata\n\nretry: soon\ndata: last, never finished\n';

test('line ends of all three kinds, comments, fields without a space and empty data are read as written', async () => {
  for (const size of [1, 2, 3, 7, 1000]) {
    assert.deepEqual(await read(STREAM, size), [
      { data: null, id: null, retry: 2500 },
      { data: '{"a":1}', id: 'e.1', retry: null },
      { data: 'first\nsecond', id: null, retry: null },
      { data: 'üñí 🛒', id: 'e.2', retry: null },
      { data: '', id: null, retry: null },
    ], `${size} bytes at a time`);
  }
});

test('every chunk is a sign of life, a heartbeat too', async () => {
  let life = 0;
  const body = new ReadableStream({ start(controller) { for (const text of [':\n\n', ':\n\n']) controller.enqueue(new TextEncoder().encode(text)); controller.close(); } });
  for await (const event of frames(body, () => { life += 1; })) assert.fail(JSON.stringify(event));
  assert.equal(life, 2);
});
