// A second cart's code while the first cart is still ours: the phone offers to move, and every screen tells the truth about it.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { cartScreen, codeOn, linkOf, phone, sessionOf, shopping, signIn, staffDesk } from './helpers/actors.js';
import { inspect, inspectBoth } from './helpers/axe.js';
import { launch, shows } from './helpers/browser.js';
import { makeFilm } from './helpers/film.js';
import { Server } from './helpers/server.js';
import { Store } from './helpers/store.js';

let server, browser, folder, store;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cartlink-film-'));
  [server, browser] = await Promise.all([Server.start(), launch()]);
  store = await Store.of(server);
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

const text = (page, selector) => page.locator(selector).innerText();
const inMoveDialog = (customer, name) => customer.locator('#move-dialog').getByRole('button', { name, exact: true });

/** Types the code's text: this phone has no camera. */
async function paste(customer, link) {
  await customer.getByRole('button', { name: 'Change cart' }).click();
  await shows(customer, 'no-camera');
  await customer.getByRole('button', { name: 'Type the code instead' }).click();
  const dialog = customer.locator('#paste-dialog');
  await dialog.getByLabel('Text of the code').fill(link);
  await dialog.getByRole('button', { name: 'Connect' }).click();
  await customer.waitForSelector('#move-dialog[open]');
}

test('a phone films a second cart, is asked, and moves: both carts, the phone and the floor show it', async () => {
  const next = await cartScreen(browser, server, '2');
  await codeOn(next);
  const film = join(folder, 'second.mjpeg');
  await makeFilm(browser, await next.screenshot(), film);
  const camera = await launch(['--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', `--use-file-for-fake-video-capture=${film}`]);
  try {
    const customer = await phone(camera, server, { permissions: ['camera'] });
    await signIn(customer, server.demo.customer);
    await shows(customer, 'home');
    const { screen } = await shopping(browser, server, '1', customer);
    const number = await text(customer, '#check-code');
    const desk = await staffDesk(browser, server);

    await customer.getByRole('button', { name: 'Change cart' }).click();
    await customer.waitForSelector('#move-dialog[open]');
    assert.match(await text(customer, '#move-text'), /already have Cart 1/);
    await inspect(customer, 'move dialog');
    assert.equal(await next.getAttribute('body', 'data-view'), 'ready', 'nothing moves before the tap');
    await inMoveDialog(customer, 'Move').click();

    await Promise.all([shows(screen, 'ended'), shows(next, 'shopping'), customer.locator('#live-title', { hasText: 'Cart 2 is yours' }).waitFor()]);
    assert.equal(await text(screen, '#ended-title'), 'See you over there');
    await inspectBoth(screen, 'moved');
    assert.match(await text(next, '#hello'), /^Hi S/);
    assert.equal(await text(next, '#check-code'), number);
    assert.equal(await text(customer, '#check-code'), number);
    await codeOn(screen);
    await desk.locator('.tile[data-state="in_use"]', { hasText: 'Cart 2' }).waitFor();
    await desk.locator('.tile[data-state="free"]', { hasText: 'Cart 1' }).waitFor();
    const { timeline } = await store.session(await sessionOf(customer));
    assert.ok(timeline.some(({ event_type: kind, cart_id: cart }) => kind === 'session-transferred' && cart === 1), JSON.stringify(timeline));

    await customer.getByRole('button', { name: 'Check out' }).click();
    await Promise.all([shows(customer, 'done'), shows(next, 'receipt')]);
    assert.equal(await screen.getAttribute('body', 'data-view'), 'ready');
    assert.deepEqual([screen.complaints, next.complaints, customer.complaints, desk.complaints], [[], [], [], []]);
  } finally {
    await camera.close();
  }
});

test('who stays with the first cart keeps it, and the second cart’s code is still good', async () => {
  const { screen, customer } = await shopping(browser, server, '3');
  const next = await cartScreen(browser, server, '1');
  await codeOn(next);
  const link = await linkOf(next, '1');
  await paste(customer, link);
  await inMoveDialog(customer, 'Stay with my cart').click();
  await customer.locator('#live-title', { hasText: 'Cart 3 is yours' }).waitFor();
  assert.equal(await screen.getAttribute('body', 'data-view'), 'shopping');
  await paste(customer, link);
  await inMoveDialog(customer, 'Move').click();
  await Promise.all([shows(screen, 'ended'), shows(next, 'shopping')]);
  await customer.getByRole('button', { name: /^(Undo|End)$/ }).click();
  await Promise.all([shows(customer, 'done'), shows(next, 'ended')]);
  await Promise.all([screen, next, customer].map((page) => page.close()));
});

test('a second cart that does not answer gives everything back, and no screen says that it has moved', async () => {
  await store.settle({ pickup: 25 });
  const { screen, customer } = await shopping(browser, server, '1');
  const next = await cartScreen(browser, server, '2');
  await codeOn(next);
  const said = [];
  await next.exposeFunction('told', (words) => said.push(words));
  await next.evaluate(() => new MutationObserver(() => window.told(document.querySelector('#ended-title').textContent)).observe(document.querySelector('#ended-title'), { childList: true, characterData: true, subtree: true }));
  await next.route('**/ack', (route) => route.abort());
  await paste(customer, await linkOf(next, '2'));
  await inMoveDialog(customer, 'Move').click();
  await customer.locator('#live-title', { hasText: 'Moving your shopping' }).waitFor();
  const notMoved = shows(next, 'ended');
  await inspectBoth(customer, 'moving');

  await notMoved;
  assert.equal(await text(next, '#ended-title'), 'Not moved');
  await inspectBoth(next, 'not moved');
  await customer.locator('#live-problem', { hasText: 'did not answer. You still have Cart 1' }).waitFor();
  assert.equal(await text(customer, '#live-title'), 'Cart 1 is yours');
  assert.equal(await screen.getAttribute('body', 'data-view'), 'shopping');
  await codeOn(next);
  assert.ok(!said.includes('See you over there'), said.join(', '));
  await customer.getByRole('button', { name: 'Check out' }).click();
  await Promise.all([shows(customer, 'done'), shows(screen, 'receipt')]);
  await store.settle({});
});
