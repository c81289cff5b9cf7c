// Half an hour of a cart's screen in some twenty seconds: the page's clock runs a hundred times as fast. Heartbeats, which keep
// to the server's clock, then come too late for it, so that it finds its stream dead and opens another, again and again.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cartScreen, codeOn, linkOf } from './helpers/actors.js';
import { launch } from './helpers/browser.js';
import { Proxy } from './helpers/proxy.js';
import { Server, until } from './helpers/server.js';

const SPEED = 100;
const HALF_AN_HOUR = 30 * 60_000;

let server, browser, proxy;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
  proxy = await Proxy.before(server);
});
after(async () => { await browser?.close(); await proxy?.stop(); await server?.stop(); });

/** Runs in the page before its own code: every clock it has goes `speed` times as fast. */
function hurry(speed) {
  const wall = Date.now.bind(Date);
  const steady = performance.now.bind(performance);
  const [wallStart, steadyStart] = [wall(), steady()];
  Date.now = () => wallStart + (wall() - wallStart) * speed;
  performance.now = () => steadyStart + (steady() - steadyStart) * speed;
  for (const name of ['setTimeout', 'setInterval']) {
    const real = window[name].bind(window);
    window[name] = (work, delay = 0, ...rest) => real(work, delay / speed, ...rest);
  }
}

/** Somebody scans, shops for a moment and leaves. */
async function aSession(through, screen) {
  const send = async (path, bearer, json) => {
    const answer = await fetch(through.url + path, { method: 'POST', headers: { ...(bearer ? { Authorization: `Bearer ${bearer}` } : {}), 'Content-Type': 'application/json' }, body: json && JSON.stringify(json) });
    return await answer.json();
  };
  await (await codeOn(screen)).dispose(); // or the test itself would keep every code that ever was
  const { access_token: customer } = await send('/auth/guest');
  const { session_id: id } = await send('/customer-session/scan-qr', customer, { token: await linkOf(screen, '3') });
  await screen.waitForFunction((wanted) => document.body.dataset.view === wanted, 'shopping');
  await send(`/customer-session/${id}/end`, customer);
  await screen.waitForFunction(() => document.body.dataset.view === 'ready');
}

test('half an hour of fresh codes, new streams and customers leaves the memory flat and one stream open', async () => {
  const screen = await cartScreen(browser, proxy, '3');
  await screen.addInitScript(hurry, SPEED);
  await screen.reload();
  await codeOn(screen);
  const session = await screen.context().newCDPSession(screen);
  /** What the page holds on to, after a tidy. */
  const held = async () => {
    await session.send('HeapProfiler.collectGarbage');
    const { usedSize: heap } = await session.send('Runtime.getHeapUsage');
    const { nodes, jsEventListeners: listeners } = await session.send('Memory.getDOMCounters');
    return { heap, nodes, listeners };
  };
  const asked = (start) => proxy.requests.filter(({ path }) => path.startsWith(start)).length;
  await until(() => asked('/sse/'), (streams) => streams >= 5, 'the first new streams');
  await aSession(proxy, screen); // what is made once and kept, is made by now
  const before = await held();
  const began = await screen.evaluate(() => Date.now());
  let [sessions, most] = [0, 0];
  for (let now = began; now - began < HALF_AN_HOUR || asked('/sse/') <= 25; now = await screen.evaluate(() => Date.now())) {
    const streams = asked('/sse/');
    await until(() => { most = Math.max(most, proxy.open('/sse/')); return asked('/sse/'); }, (more) => more >= streams + 3, 'the stream to be opened anew');
    await aSession(proxy, screen);
    sessions += 1;
  }
  await codeOn(screen);
  const after = await held();
  assert.ok(asked('/sse/') > 20, `${asked('/sse/')} streams`);
  assert.ok(asked('/customer-session/qr/') > 20, `${asked('/customer-session/qr/')} codes`);
  assert.ok(sessions >= 5, `${sessions} sessions`);
  assert.ok(after.heap - before.heap < 300_000, `${after.heap - before.heap} bytes more`);
  assert.ok(after.nodes - before.nodes < 40, `${after.nodes - before.nodes} nodes more`);
  assert.ok(after.listeners - before.listeners < 20, `${after.listeners - before.listeners} listeners more`);
  // One ends a moment after the next has begun: a pile would be dozens.
  assert.ok(most <= 5, `${most} streams open at once`);
  await until(() => proxy.open('/sse/'), (open) => open <= 1, 'one stream');
  console.log(`half an hour: ${asked('/sse/')} streams, ${asked('/customer-session/qr/')} codes, ${sessions} sessions; ${after.heap - before.heap} bytes, ${after.nodes - before.nodes} nodes, ${after.listeners - before.listeners} listeners more`);
  assert.deepEqual(screen.complaints, []);
});
