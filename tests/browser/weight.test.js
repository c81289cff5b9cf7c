// What the cart's screen costs: bytes to the first paint, and movement when the code changes.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cartScreen, codeOn } from './helpers/actors.js';
import { launch } from './helpers/browser.js';
import { Server } from './helpers/server.js';

const FIRST_PAINT = 60 * 1024;

let server, browser;
before(async () => { [server, browser] = await Promise.all([Server.start(['--qr-ttl', '10m', '--qr-refresh', '1s']), launch()]); });
after(async () => { await browser?.close(); await server?.stop(); });

test('the cart’s screen needs at most 60 KB, compressed, until it shows its code', async () => {
  const screen = await cartScreen(browser, server);
  await codeOn(screen);
  const session = await screen.context().newCDPSession(screen);
  await session.send('Network.enable');
  await session.send('Network.setCacheDisabled', { cacheDisabled: true });
  let bytes = 0;
  session.on('Network.loadingFinished', ({ encodedDataLength }) => { bytes += encodedDataLength; });
  await screen.reload();
  await codeOn(screen);
  assert.ok(bytes > 5_000, `${bytes} bytes: were they counted?`);
  assert.ok(bytes <= FIRST_PAINT, `${bytes} bytes`);
});

test('nothing moves when the code changes', async () => {
  const screen = await cartScreen(browser, server, '2');
  await codeOn(screen);
  await screen.evaluate(() => {
    window.moved = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => { window.moved += entry.value; })).observe({ type: 'layout-shift' });
  });
  const code = () => screen.evaluate(() => document.querySelector('#code svg path:last-child').getAttribute('d'));
  for (let change = 0; change < 3; change += 1) {
    await screen.waitForFunction((old) => { const now = document.querySelector('#code svg path:last-child')?.getAttribute('d'); return now && now !== old; }, await code());
  }
  assert.equal(await screen.evaluate(() => window.moved), 0);
});

test('a module of the code is a whole number of pixels, at least 60 mm are code on a seven-inch screen, and the quiet zone is there', async () => {
  const screen = await cartScreen(browser, server, '2');
  const { side, modules } = await (await codeOn(screen)).evaluate((svg) => ({ side: svg.getBoundingClientRect().width, modules: svg.viewBox.baseVal.width }));
  assert.equal(side % modules, 0);
  const millimetres = (side * (modules - 8)) / modules * (7 * 25.4) / Math.hypot(1024, 600);
  assert.ok(millimetres >= 60, `${millimetres.toFixed(1)} mm`);
});
