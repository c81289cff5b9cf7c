// A phone that reaches the demo over the network. Chromium takes loopback addresses for secure whatever they speak, so the
// phones here know the server by a name.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { cartScreen, codeOn, guest, phone } from './helpers/actors.js';
import { launch, shows } from './helpers/browser.js';
import { makeFilm } from './helpers/film.js';
import { Server } from './helpers/server.js';

const NAME = 'carts.test';
const at = (address) => `--host-resolver-rules=MAP ${NAME} ${address}`;
const TRYING = { ignoreHTTPSErrors: true };

let lan, plain, browser, folder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cartlink-film-'));
  [lan, plain, browser] = await Promise.all([Server.start(['--lan-address', '127.0.0.2']), Server.start(), launch([at('127.0.0.1')])]);
});
after(async () => {
  await browser?.close();
  await Promise.all([lan?.stop(), plain?.stop()]);
  await rm(folder, { recursive: true, force: true });
});

/** The same server by its name. */
const named = ({ url, demo }) => ({ demo, url: url.replace(/127\.0\.0\.\d/, NAME) });

test('over plain http a phone has no camera, which is why the demo has --lan', async () => {
  const page = await phone(browser, named(plain));
  assert.deepEqual(await page.evaluate(() => [isSecureContext, navigator.mediaDevices === undefined]), [false, true]);
  await page.context().close();
});

test('over the demo\'s https a phone films the cart with its own camera, and both start', async () => {
  const screen = await cartScreen(browser, lan, '1', TRYING);
  await codeOn(screen);
  const film = join(folder, 'cart.mjpeg');
  await makeFilm(browser, await screen.screenshot(), film);
  const camera = await launch([at('127.0.0.2'), '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', `--use-file-for-fake-video-capture=${film}`]);
  try {
    const customer = await guest(camera, named(lan), { ...TRYING, permissions: ['camera'] });
    assert.ok(await customer.evaluate(() => isSecureContext && Boolean(navigator.mediaDevices?.getUserMedia)));
    await customer.getByRole('button', { name: 'Scan a cart' }).click();
    await Promise.all([shows(customer, 'live'), shows(screen, 'shopping')]);
    assert.deepEqual([screen.complaints, customer.complaints], [[], []]);
  } finally {
    await camera.close();
  }
});
