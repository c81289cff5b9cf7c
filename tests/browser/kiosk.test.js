// A screen on a cart is not a browser, and the phone's page can be put on a home screen.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cartScreen, codeOn, phone } from './helpers/actors.js';
import { launch, newPage, shows } from './helpers/browser.js';
import { Server } from './helpers/server.js';

let server, browser;
before(async () => { [server, browser] = await Promise.all([Server.start(['--ios-apps', 'ABCDE12345.com.example.shop', '--android-apps', `com.example.shop=${Array(32).fill('0A').join(':')}`]), launch()]); });
after(async () => { await browser?.close(); await server?.stop(); });

test('the cart’s screen stays awake, selects nothing, shows no menu and has no scroll bars', async () => {
  const screen = await newPage(browser, 'cart');
  await screen.addInitScript(() => {
    window.awake = 0;
    Object.defineProperty(navigator, 'wakeLock', { value: { request: async (kind) => { window.awake += kind === 'screen' ? 1 : 0; return {}; } } });
  });
  await screen.goto(`${server.url}/cart/`);
  await shows(screen, 'enrol');
  assert.equal(await screen.evaluate(() => window.awake), 1);
  assert.equal(await screen.evaluate(() => { document.dispatchEvent(new Event('visibilitychange')); return window.awake; }), 2, 'asked again when it is seen again');
  await screen.close();

  const ready = await cartScreen(browser, server, '1');
  await codeOn(ready);
  const allowed = (name, selector) => ready.evaluate(([event, where]) => document.querySelector(where).dispatchEvent(new Event(event, { bubbles: true, cancelable: true })), [name, selector]);
  for (const name of ['contextmenu', 'selectstart', 'dragstart']) assert.equal(await allowed(name, 'h1'), false, name);
  assert.equal(await allowed('selectstart', '#enrol-code'), true, 'a code that is typed can be mended');
  assert.equal(await ready.evaluate(() => getComputedStyle(document.body).userSelect), 'none');
  assert.deepEqual(await ready.evaluate(() => [document.documentElement.scrollHeight > innerHeight, document.documentElement.scrollWidth > innerWidth]), [false, false]);
});

test('the browser reads the phone’s manifest without a complaint, and all it names is there', async () => {
  const page = await phone(browser, server);
  const session = await page.context().newCDPSession(page);
  const { url, errors, data } = await session.send('Page.getAppManifest');
  assert.equal(url, `${server.url}/static/phone/manifest.webmanifest`);
  assert.deepEqual(errors, []);
  const manifest = JSON.parse(data);
  assert.deepEqual([manifest.start_url, manifest.display, manifest.orientation], ['/app/', 'standalone', 'portrait']);
  for (const { src, type } of manifest.icons) {
    const answer = await fetch(server.url + src);
    assert.equal(answer.headers.get('content-type'), type, src);
  }
});

test('phones learn from the server which apps open the links in the pictures', async () => {
  const read = async (path) => {
    const answer = await fetch(`${server.url}/.well-known/${path}`);
    assert.match(answer.headers.get('content-type'), /^application\/json/);
    return await answer.json();
  };
  assert.deepEqual((await read('apple-app-site-association')).applinks.details, [{ appIDs: ['ABCDE12345.com.example.shop'], components: [{ '/': '/s' }] }]);
  assert.equal((await read('assetlinks.json'))[0].target.package_name, 'com.example.shop');
});

test('from right to left everything is mirrored, and nothing sticks out of a narrow screen', async () => {
  const page = await newPage(browser, 'phone', { hasTouch: true, isMobile: true, locale: 'ar' });
  await page.goto(`${server.url}/app/`);
  await shows(page, 'welcome');
  assert.deepEqual(await page.evaluate(() => [document.documentElement.lang, document.documentElement.dir]), ['ar', 'rtl']);
  const side = (selector) => page.locator(selector).evaluate((node) => { const { left, right } = node.getBoundingClientRect(); return left + right > innerWidth ? 'right' : 'left'; });
  assert.deepEqual([await side('.brand'), await side('[data-language]')], ['right', 'left']);
  for (const width of [320, 390, 768]) {
    await page.setViewportSize({ width, height: 844 });
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, `${width} wide`);
  }
});
