// Two thousand carts changing a hundred times a second: the floor stays smooth, because of what it does not do. It draws at most
// once per frame of the screen and so many tiles at most, touches no tile but those that changed, makes none anew, and asks
// for no layout in between. All of that is counted, and not timed. The store is played by this file, for the question is
// what the page costs, not the server.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { launch, newPage } from './helpers/browser.js';

const STATIC = new URL('../../static/', import.meta.url);
const TYPES = { html: 'text/html', css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml' };
const CARTS = 2_000;
const CHANGING = 400; // of them, over and over
const A_FRAMES_WORK = 100; // tiles
const FIELDS = 6; // of a tile: state, link, who, time, power, and whether it is low

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

/** Runs in the page before its own code: counts what each frame's work changes in the tree. */
function keepCount() {
  Object.assign(window, { draws: [], elsewhere: [], frames: 0, long: [] });
  new PerformanceObserver((list) => list.getEntries().forEach(({ startTime, duration }) => window.long.push({ startTime, duration }))).observe({ type: 'longtask' });
  const nodeOf = (target) => (target.nodeType === Node.ELEMENT_NODE ? target : target.parentElement);
  const inTiles = (records) => records.filter(({ target }) => nodeOf(target)?.closest('#tiles'));
  const elements = (list) => [...list].filter((node) => node.nodeType === Node.ELEMENT_NODE).length;
  const aside = (records) => inTiles(records).forEach(({ target }) => window.elsewhere.push(nodeOf(target).className));
  const observer = new MutationObserver(aside);
  observer.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
  const next = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (work) => next((at) => {
    aside(observer.takeRecords());
    work(at);
    const records = inTiles(observer.takeRecords());
    if (records.length === 0) return;
    const tiles = new Set(records.map(({ target }) => nodeOf(target).closest('.tile')).filter(Boolean));
    window.draws.push({
      at, changes: records.length, tiles: [...tiles].map((tile) => tile.querySelector('.name').textContent),
      added: records.reduce((sum, { addedNodes }) => sum + elements(addedNodes), 0), removed: records.reduce((sum, { removedNodes }) => sum + elements(removedNodes), 0),
    });
  });
  const frame = () => { window.frames += 1; next(frame); };
  next(frame);
}

/** What was counted since the last time. */
const counted = (desk) => desk.evaluate(() => ({ draws: window.draws.splice(0), elsewhere: window.elsewhere.splice(0), long: window.long.splice(0), frames: window.frames }));
const most = (all) => all.reduce((high, one) => Math.max(high, one), 0);
const longest = (long) => Math.round(most(long.map(({ duration }) => duration)));

/** No frame is drawn twice, and none has more to do than a frame should. */
function areCalm(draws) {
  assert.equal(new Set(draws.map(({ at }) => at)).size, draws.length, 'at most one drawing per frame');
  const busiest = most(draws.map(({ tiles, added }) => Math.max(tiles.length, added)));
  assert.ok(busiest <= A_FRAMES_WORK, `${busiest} tiles in one frame`);
}

const change = (id, turn) => `data: ${JSON.stringify({ type: 'cart', ...cart(id, turn) })}\n\n`;

/** Waits until the tile of this cart says so. */
const shown = (desk, { cart_id: id, battery, session }) => desk.waitForFunction(([at, power, who]) => {
  const tile = window.tiles[at];
  return tile.querySelector('.power').textContent === power && tile.querySelector('.who').textContent.startsWith(who);
}, [id - 1, `${battery} %`, session ? session.initial : 'Free'], { polling: 100 });

test('two thousand carts are drawn and change a hundred times a second, each change in its own tile and once per frame', async () => {
  const desk = await newPage(browser, 'desk');
  await desk.addInitScript(() => localStorage.setItem('cartlink.staff', JSON.stringify({ access: 'a', refresh: 'r', user: { id: 1 } })));
  await desk.addInitScript(keepCount);
  await desk.goto(`http://127.0.0.1:${store.address().port}/admin/`);
  await desk.waitForFunction((count) => document.querySelectorAll('.tile').length === count, CARTS, { polling: 100 });
  await desk.evaluate(() => { window.tiles = [...document.querySelectorAll('.tile')]; });
  await shown(desk, cart(CARTS));

  const first = await counted(desk);
  areCalm(first.draws);
  assert.equal(first.draws.reduce((sum, { added }) => sum + added, 0), CARTS, 'each tile is put there once');
  console.log(`${CARTS} carts: drawn in ${first.draws.length} frames, the longest task took ${longest(first.long)} ms`);

  // All at once: five changes of each cart in one piece, of which the last is what counts.
  const last = 3;
  const pieces = [];
  for (let turn = -1; turn <= last; turn += 1) for (let id = 1; id <= CHANGING; id += 1) pieces.push(change(id, turn));
  stream.write(pieces.join(''));
  const allShown = async (turn) => { for (let id = 1; id <= CHANGING; id += 40) await shown(desk, cart(id, turn)); await shown(desk, cart(CHANGING, turn)); };
  await allShown(last);
  const burst = await counted(desk);
  areCalm(burst.draws);
  console.log(`${pieces.length} changes at once: drawn in ${burst.draws.length} frames, the longest task took ${longest(burst.long)} ms`);
  // What came in several pieces may be drawn as often; a drawing per change would be two thousand.
  assert.ok(burst.draws.length < pieces.length / 10, `${burst.draws.length} drawings of ${pieces.length} changes`);

  const session = await desk.context().newCDPSession(desk);
  await session.send('Performance.enable');
  const held = async () => {
    await session.send('HeapProfiler.collectGarbage');
    const { metrics } = await session.send('Performance.getMetrics');
    const { nodes, jsEventListeners: listeners } = await session.send('Memory.getDOMCounters');
    return { layouts: metrics.find(({ name }) => name === 'LayoutCount').value, nodes, listeners };
  };
  // Each cart has had a session once, and a tile its every line.
  let turn = last;
  for (let more = 0; more < 2; more += 1) {
    turn += 1;
    stream.write(Array.from({ length: CHANGING }, (_, at) => change(at + 1, turn)).join(''));
    await allShown(turn);
  }
  // A hundred a second for four seconds.
  await counted(desk);
  const [before, { frames: begun }] = [await held(), await counted(desk)];
  turn += 1;
  for (let at = 0; at < CHANGING; at += 10) {
    stream.write(Array.from({ length: 10 }, (_, more) => change(1 + at + more, turn)).join(''));
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await allShown(turn);
  const [after, now] = [await held(), await counted(desk)];
  const frames = now.frames - begun;
  console.log(`a hundred changes a second: ${now.draws.length} drawings in ${frames} frames, ${after.layouts - before.layouts} layouts, ${after.nodes - before.nodes} nodes more; the longest of ${now.long.length} long tasks took ${longest(now.long)} ms`);
  areCalm(now.draws);
  const touched = new Set(now.draws.flatMap(({ tiles }) => tiles));
  const expected = Array.from({ length: CHANGING }, (_, at) => `Cart ${at + 1}`);
  assert.deepEqual([...touched].filter((name) => !expected.includes(name)), [], 'only what changed is touched');
  assert.equal(touched.size, CHANGING);
  const changes = now.draws.reduce((sum, draw) => sum + draw.changes, 0);
  assert.ok(changes <= CHANGING * FIELDS, `${changes} changes in the tree for ${CHANGING} of carts`);
  assert.deepEqual(now.elsewhere.filter((name) => name !== 'time'), [], 'between frames nothing moves but the clocks');
  assert.deepEqual(now.draws.filter(({ added, removed }) => added || removed), [], 'no element is made or thrown away');
  assert.ok(await desk.evaluate(() => window.tiles.every((tile, at) => tile === document.querySelector('#tiles').children[at])), 'each tile is the one it was');
  assert.ok(after.layouts - before.layouts <= 2 * frames + 10, `${after.layouts - before.layouts} layouts in ${frames} frames: no layout is forced`);
  assert.ok(after.nodes - before.nodes <= 20, `${after.nodes - before.nodes} nodes more`);
  assert.ok(after.listeners - before.listeners <= 2, `${after.listeners - before.listeners} listeners more`);
  assert.deepEqual(desk.complaints, []);
});
