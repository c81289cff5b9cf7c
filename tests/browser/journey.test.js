// The whole journey as people make it: the cart's screen, a phone that sees it through its own camera, the floor in the back
// office. No step goes past the pages.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { cartScreen, codeOn, guest, linkOf, openLink, phone, signIn, staffDesk } from './helpers/actors.js';
import { launch, shows } from './helpers/browser.js';
import { makeFilm } from './helpers/film.js';
import { Server, until } from './helpers/server.js';

let server, browser, folder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cartlink-film-'));
  [server, browser] = await Promise.all([Server.start(), launch()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

const text = (page, selector) => page.locator(selector).innerText();

test('a phone films the cart, both screens start and show the same number, the floor sees it, checkout ends with a receipt on both', async () => {
  const screen = await cartScreen(browser, server, '1');
  await codeOn(screen);
  const desk = await staffDesk(browser, server);
  const tile = desk.locator('.tile', { hasText: 'Cart 1' });
  await tile.waitFor();

  const film = join(folder, 'cart.mjpeg');
  await makeFilm(browser, await screen.screenshot(), film);
  const camera = await launch(['--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', `--use-file-for-fake-video-capture=${film}`]);
  try {
    const customer = await phone(camera, server, { permissions: ['camera'] });
    await signIn(customer, server.demo.customer);
    await shows(customer, 'home');
    await customer.getByRole('button', { name: 'Scan a cart' }).click();
    await Promise.all([shows(customer, 'live'), shows(screen, 'shopping')]);

    assert.match(await text(screen, '#hello'), /^Hi \S/);
    const number = await text(screen, '#check-code');
    assert.match(number.replace(/\s/g, ''), /^\d{2}/);
    assert.equal(await text(customer, '#check-code'), number);
    await until(() => text(customer, '#live-state'), (state) => state === 'Shopping', 'the cart to pick it up');
    await desk.waitForSelector('.tile[data-state="in_use"]');

    await customer.getByRole('button', { name: 'Check out' }).click();
    await Promise.all([shows(customer, 'done'), shows(screen, 'receipt')]);
    assert.equal(await text(customer, '#done-title'), 'Thank you!');
    await desk.waitForSelector('.tile[data-state="in_use"]', { state: 'detached' });
    await customer.getByRole('button', { name: 'Done' }).click();
    await customer.locator('#recent-list', { hasText: 'Completed' }).waitFor();
    assert.deepEqual([screen.complaints, customer.complaints, desk.complaints], [[], [], []]);
  } finally {
    await camera.close();
  }
});

test('the link in the picture binds nothing until it is tapped, and is gone from the address at once', async () => {
  const screen = await cartScreen(browser, server, '2');
  await codeOn(screen);
  const customer = await guest(browser, server);
  await openLink(customer, server, await linkOf(screen, '2'));
  assert.equal(new URL(customer.url()).hash, '');
  assert.equal(await screen.getAttribute('body', 'data-view'), 'ready');
  await customer.getByRole('button', { name: 'Connect' }).click();
  await Promise.all([shows(customer, 'live'), shows(screen, 'shopping')]);
  await customer.getByRole('button', { name: /^(Undo|End)$/ }).click();
  await Promise.all([shows(customer, 'done'), shows(screen, 'ended')]);
  await screen.close();
});

test('"not you?" at the cart ends the session on both screens', async () => {
  const screen = await cartScreen(browser, server, '2');
  await codeOn(screen);
  const customer = await guest(browser, server);
  await openLink(customer, server, await linkOf(screen, '2'));
  await customer.getByRole('button', { name: 'Connect' }).click();
  await shows(screen, 'shopping');
  await screen.getByRole('button', { name: 'Not you?' }).click();
  await screen.getByRole('button', { name: 'Disconnect' }).click();
  await Promise.all([shows(screen, 'ended'), shows(customer, 'done')]);
  assert.equal(await text(customer, '#done-text'), 'Released at the cart.');
  await screen.close();
});
