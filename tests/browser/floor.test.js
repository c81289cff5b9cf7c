// Two thousand carts changing a hundred times a second: the floor keeps up, frame by frame. The store is played by this file,
// for the question is what the page costs, not the server.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { launch, newPage } from './helpers/browser.js';
import { until } from './helpers/server.js';

const STATIC = new URL('../../static/', import.meta.url);
const TYPES = { html: 'text/html', css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml' };
const CARTS = 2_000;
const EACH = 10;

let browser, store, stream;

function cart(id, turn = 0) {
  const session = (id + turn) % 3 === 0 ? { session_id: id, status: 'fetched', phase: turn % 2 ? 'shopping' : 'checkout', initial: 'S.', created_at: new Date().toISOString(), fetched_at: null } : null;
  return { cart_id: id, label: `Cart ${id}`, store_id: 1, lifecycle: 'in_service', occupancy: session ? 'in_use' : 'free', link: 'online', battery: (id + turn) % 100, charging: false, session };
}

async function answer(request, response) {
  const { pathname } = new URL(request.url, 'http://store');
  if (pathname === '/admin/events') {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.write(`data: ${JSON.stringify({ type: 'floor', carts: Array.from({ length: CARTS }, (_, at) => cart(at + 1)), counters: {}, attention: [] })}\n\n`);
    stream = response;
    return;
  }
  const path = pathname === '/admin/' ? 'admin/index.html' : pathname.replace('/static/', '');
  const file = await readFile(new URL(path, STATIC)).catch(() => null);
  response.writeHead(file ? 200 : 404, { 'Content-Type': TYPES[path.split('.').pop()] ?? 'text/plain' });
  response.end(file);
}

before(async () => {
  store = http.createServer(answer).listen(0, '127.0.0.1');
  await once(store, 'listening');
  browser = await launch();
});
after(async () => { await browser?.close(); store?.closeAllConnections(); store?.close(); });

test('the floor draws two thousand carts and a hundred changes a second without long tasks', async () => {
  const desk = await newPage(browser, 'desk');
  await desk.addInitScript(() => {
    localStorage.setItem('cartlink.staff', JSON.stringify({ access: 'a', refresh: 'r', user: { id: 1 } }));
    window.long = [];
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => window.long.push(entry.duration))).observe({ type: 'longtask' });
  });
  await desk.goto(`http://127.0.0.1:${store.address().port}/admin/`);
  await desk.waitForFunction((count) => document.querySelectorAll('.tile').length === count, CARTS);
  await desk.evaluate(() => new Promise((resolve) => requestIdleCallback(resolve)));
  await desk.evaluate(() => { window.long.length = 0; });

  let turn = 0;
  const sending = setInterval(() => {
    turn += 1;
    for (let at = 0; at < EACH; at += 1) stream.write(`data: ${JSON.stringify({ type: 'cart', ...cart(1 + ((turn * EACH + at) % CARTS), turn) })}\n\n`);
  }, 1000 / (100 / EACH));
  await until(() => turn, (turns) => turns >= 40, 'four seconds of changes');
  clearInterval(sending);
  const last = cart(1 + ((turn * EACH + EACH - 1) % CARTS), turn);
  await desk.waitForFunction(([label, text]) => [...document.querySelectorAll('.tile')].some((tile) => tile.querySelector('.name').textContent === label && tile.querySelector('.power').textContent === text), [last.label, `${last.battery} %`]);
  const long = await desk.evaluate(() => window.long);
  assert.ok(Math.max(0, ...long) < 250, `the longest task took ${Math.max(0, ...long)} ms`);
  assert.ok(long.reduce((sum, each) => sum + each, 0) < 1_200, `${long.length} long tasks`);
  assert.deepEqual(desk.complaints, []);
});
