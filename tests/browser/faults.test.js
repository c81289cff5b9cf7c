// What goes wrong in a store, in the middle of shopping: everything goes on by itself.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cartScreen, codeOn, guest, linkOf, openLink, sessionOf, shopping } from './helpers/actors.js';
import { launch, shows } from './helpers/browser.js';
import { Proxy } from './helpers/proxy.js';
import { Server, until } from './helpers/server.js';
import { Store } from './helpers/store.js';

const OUTAGE = 10_000;
const MINUTE = 60_000;

let server, browser, proxy;
before(async () => {
  [server, browser] = await Promise.all([Server.start(['--qr-ttl', '60s', '--qr-refresh', '40s']), launch()]);
  proxy = await Proxy.before(server);
});
after(async () => { await browser?.close(); await proxy?.stop(); await server?.stop(); });

async function toTheReceipt({ screen, customer }) {
  await customer.getByRole('button', { name: 'Check out' }).click();
  await Promise.all([shows(customer, 'done'), shows(screen, 'receipt')]);
  await Promise.all([screen.close(), customer.close()]);
}

/** Runs in the page: for how long from now a code is seen, and how late the page's timers are meanwhile on a busy machine. */
function watchCode() {
  const [began, every] = [performance.now(), 250];
  let last = began;
  window.code = { age: null, late: 0 };
  const look = () => {
    const now = performance.now();
    window.code.late += Math.max(0, now - last - 2 * every); // the sum of all delays: several in a row count each
    last = now;
  };
  const timer = setInterval(look, every);
  new MutationObserver((_, observer) => {
    if (document.querySelector('#code svg')) return;
    look();
    window.code.age = performance.now() - began;
    observer.disconnect();
    clearInterval(timer);
  }).observe(document.querySelector('#code'), { childList: true, subtree: true });
}

test('the server is killed and comes back in the middle of shopping', async () => {
  const both = await shopping(browser, server, '1');
  const number = await both.screen.locator('#check-code').innerText();
  await server.kill();
  try {
    await Promise.all([both.screen.waitForSelector('#lost:not([hidden])'), both.customer.waitForSelector('#offline:not([hidden])')]);
  } finally {
    await server.revive();
  }
  await both.screen.waitForSelector('#lost', { state: 'hidden' });
  await both.customer.waitForSelector('#offline', { state: 'hidden' });
  assert.equal(await both.screen.getAttribute('body', 'data-view'), 'shopping');
  assert.equal(await both.screen.locator('#check-code').innerText(), number);
  await toTheReceipt(both);
});

test('a proxy answers 502 for ten seconds: no dead code stays, and what ended meanwhile has ended', async () => {
  const both = await shopping(browser, proxy, '2');
  const idle = await cartScreen(browser, proxy, '3');
  await codeOn(idle);
  proxy.breakDown();
  const began = Date.now();
  await Promise.all([both.screen, idle].map((screen) => screen.waitForSelector('#lost', { state: 'attached' })));
  await idle.waitForFunction(() => !document.querySelector('#code svg'));
  await idle.locator('#code-wait', { hasText: 'Reconnecting' }).waitFor();
  await until(() => Date.now() - began > OUTAGE, Boolean, 'ten seconds');
  const asked = proxy.requests.filter(({ path, at }) => path.startsWith('/sse/3') && at >= began).length;
  const seconds = (Date.now() - began) / 1000;
  assert.ok(asked <= 2 + seconds, `${asked} attempts of one screen in ${seconds} seconds`);
  proxy.heal();
  await codeOn(idle);
  await both.screen.waitForSelector('#lost', { state: 'hidden' });
  await idle.close();
  await toTheReceipt(both);
});

test('for a minute nothing passes, though the network looks up: no code outlives its time, and everything goes on by itself', async () => {
  const both = await shopping(browser, proxy, '2');
  const idle = await cartScreen(browser, proxy, '3');
  await codeOn(idle);
  await idle.evaluate(watchCode);
  proxy.swallow();
  const began = Date.now();
  await idle.waitForFunction(() => !document.querySelector('#code svg'), null, { timeout: 5 * MINUTE });
  const { age, late } = await idle.evaluate(() => window.code);
  console.log(`a code was on the screen for ${Math.round(age)} ms; the page's own clock was ${Math.round(late)} ms late at most`);
  assert.ok(age < MINUTE + late, 'a code lives for sixty seconds');
  await Promise.all([idle, both.screen].map((screen) => screen.waitForSelector('#lost:not([hidden])', { state: 'attached', timeout: 5 * MINUTE })));
  await both.customer.waitForSelector('#offline:not([hidden])', { timeout: 5 * MINUTE });
  await until(() => Date.now() - began > MINUTE, Boolean, 'a minute', 5 * MINUTE);
  proxy.deliver();
  await codeOn(idle);
  await both.screen.waitForSelector('#lost', { state: 'hidden' });
  await both.customer.waitForSelector('#offline', { state: 'hidden' });
  await idle.close();
  await toTheReceipt(both);
});

test('the network of both is cut and comes back', async () => {
  const both = await shopping(browser, server, '1');
  for (const page of [both.screen, both.customer]) await page.context().setOffline(true);
  await both.customer.locator('#offline', { hasText: 'offline' }).waitFor();
  await both.screen.waitForSelector('#lost:not([hidden])');
  for (const page of [both.screen, both.customer]) await page.context().setOffline(false);
  await both.customer.waitForSelector('#offline', { state: 'hidden' });
  await both.screen.waitForSelector('#lost', { state: 'hidden' });
  await toTheReceipt(both);
});

test('a tap while offline is said to be so, and goes through by itself when the network is back', async () => {
  const screen = await cartScreen(browser, server, '1');
  await codeOn(screen);
  const page = await guest(browser, server);
  await openLink(page, server, await linkOf(screen, '1'));
  await page.context().setOffline(true);
  await page.getByRole('button', { name: 'Connect' }).click();
  await page.locator('#refused-text', { hasText: 'You are offline' }).waitFor();
  await page.getByRole('button', { name: 'Try again' }).waitFor();
  await page.context().setOffline(false);
  await Promise.all([shows(page, 'live'), shows(screen, 'shopping')]);
  await page.getByRole('button', { name: /^(Undo|End)$/ }).click();
  await shows(screen, 'ended');
  await Promise.all([page.close(), screen.close()]);
});

test('a screen that slept for an hour shows no old code and is back at once', async () => {
  const screen = await cartScreen(browser, server, '3');
  await codeOn(screen);
  const asked = { '/qr/': 0, '/sse/': 0 };
  screen.on('request', (request) => { for (const path of Object.keys(asked)) asked[path] += request.url().includes(path) ? 1 : 0; });
  const left = await screen.evaluate(() => {
    const real = Date.now;
    Date.now = () => real() + 3_600_000;
    document.dispatchEvent(new Event('visibilitychange'));
    return document.querySelectorAll('#code svg').length;
  });
  assert.equal(left, 0);
  await codeOn(screen);
  await until(() => asked['/sse/'], Boolean, 'a new stream: the old one has been silent for an hour');
  assert.ok(asked['/qr/'] > 0);
  await screen.close();
});

test('a phone and a screen whose tabs were asleep show what has become of the session when they wake', async () => {
  const { screen, customer } = await shopping(browser, server, '2');
  const id = await sessionOf(customer);
  const pages = [screen, customer];
  const lives = await Promise.all(pages.map((page) => page.context().newCDPSession(page)));
  const turn = (state) => Promise.all(lives.map((life) => life.send('Page.setWebLifecycleState', { state })));
  await turn('frozen');
  await (await Store.of(server)).end(id, 'left at the door');
  await turn('active');
  await Promise.all([shows(screen, 'ended'), shows(customer, 'done')]);
  assert.equal(await customer.locator('#done-text').innerText(), 'Ended by the store.');
  await codeOn(screen);
  await Promise.all(pages.map((page) => page.close()));
});

test('of two phones that scan one code at once, one has the cart and the other is told to look for a new code', async () => {
  const screen = await cartScreen(browser, server, '3');
  await codeOn(screen);
  const link = await linkOf(screen, '3');
  const phones = await Promise.all([guest(browser, server), guest(browser, server)]);
  await Promise.all(phones.map((page) => openLink(page, server, link)));
  await Promise.all(phones.map((page) => page.getByRole('button', { name: 'Connect' }).click()));
  const ends = await Promise.all(phones.map((page) => until(() => page.getAttribute('body', 'data-view'), (view) => view !== 'confirm', 'an answer')));
  assert.deepEqual(ends.sort(), ['live', 'refused']);
  await shows(screen, 'shopping');
});
