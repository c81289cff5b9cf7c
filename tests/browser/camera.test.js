// The camera's side of things: the browser's own reader, the light, a code that grows old in the picture, and a cart that is
// enrolled by its camera.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { cartScreen, codeOn, guest, staffDesk } from './helpers/actors.js';
import { inspect } from './helpers/axe.js';
import { launch, newPage, shows } from './helpers/browser.js';
import { makeFilm } from './helpers/film.js';
import { Server, until } from './helpers/server.js';

let server, browser, folder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cartlink-film-'));
  [server, browser] = await Promise.all([Server.start(['--qr-ttl', '10m', '--qr-refresh', '9m']), launch()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** A browser whose camera sees this page as it is now. */
async function filming(page, name, flags = []) {
  const film = join(folder, `${name}.mjpeg`);
  await makeFilm(browser, await page.screenshot(), film);
  return await launch(['--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', `--use-file-for-fake-video-capture=${film}`, ...flags]);
}

const seesNothing = () => launch(['--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream']);

/** Runs in the page before its own code: a reader with the interface of the browser's own, which reads with zxing. */
function ownReader() {
  window.asked = [];
  window.BarcodeDetector = class {
    static async getSupportedFormats() { return ['ean_13', 'qr_code']; }

    constructor(options) { this.options = options; }

    async detect(source) {
      window.asked.push({ formats: this.options.formats, video: source instanceof HTMLVideoElement });
      const { prepareZXingModule, readBarcodes } = await import('/static/vendor/zxing-wasm/reader/index.js');
      prepareZXingModule({ overrides: { locateFile: (file) => `/static/vendor/zxing-wasm/reader/${file}` } });
      const canvas = new OffscreenCanvas(source.videoWidth, source.videoHeight);
      const pen = canvas.getContext('2d');
      pen.drawImage(source, 0, 0);
      const found = await readBarcodes(pen.getImageData(0, 0, canvas.width, canvas.height), { formats: ['QRCode'], tryHarder: true });
      return found.filter((one) => one.isValid).map(({ text }) => ({ format: 'qr_code', rawValue: text, boundingBox: new DOMRectReadOnly(), cornerPoints: [] }));
    }
  };
}

test('where the browser reads codes itself, the page asks it, and nothing else is fetched', async () => {
  const screen = await cartScreen(browser, server, '1');
  await codeOn(screen);
  const camera = await filming(screen, 'own');
  try {
    const customer = await guest(camera, server, { permissions: ['camera'] });
    await customer.addInitScript(ownReader);
    const fetched = [];
    customer.on('request', (request) => fetched.push(new URL(request.url()).pathname));
    await customer.reload();
    await shows(customer, 'home');
    await customer.getByRole('button', { name: 'Scan a cart' }).click();
    await Promise.all([shows(customer, 'live'), shows(screen, 'shopping')]);
    const asked = await customer.evaluate(() => window.asked);
    assert.deepEqual(asked[0], { formats: ['qr_code'], video: true });
    assert.ok(!fetched.includes('/static/shared/scan-worker.js'), 'the reader for browsers without one stays away');
    assert.deepEqual(customer.complaints, []);
  } finally {
    await camera.close();
    await screen.close();
  }
});

test('a reader of the browser that is there and does not work is passed over', async () => {
  const screen = await cartScreen(browser, server, '2');
  await codeOn(screen);
  const camera = await filming(screen, 'passed-over');
  try {
    const customer = await guest(camera, server, { permissions: ['camera'] });
    await customer.addInitScript(() => { window.BarcodeDetector = class { static async getSupportedFormats() { return ['qr_code']; } async detect() { throw new DOMException('Barcode detection service unavailable.', 'NotSupportedError'); } }; });
    await customer.reload();
    await shows(customer, 'home');
    await customer.getByRole('button', { name: 'Scan a cart' }).click();
    await Promise.all([shows(customer, 'live'), shows(screen, 'shopping')]);
  } finally {
    await camera.close();
    await screen.close();
  }
});

test('a code that dies under the camera is refused in plain words, and the cart has a new one', async () => {
  const hasty = await Server.start(['--qr-ttl', '6s', '--qr-refresh', '2s']);
  const screen = await cartScreen(browser, hasty, '3');
  await codeOn(screen);
  const read = () => screen.evaluate(async () => (await fetch('/customer-session/qr/3.json')).json());
  const camera = await filming(screen, 'old');
  try {
    const { expires_at: end } = await read();
    await until(read, ({ server_time: now }) => now > end, 'the filmed code to expire');
    const customer = await guest(camera, hasty, { permissions: ['camera'] });
    await customer.getByRole('button', { name: 'Scan a cart' }).click();
    await shows(customer, 'refused');
    assert.match(await customer.locator('#refused-text').innerText(), /too old.*a new one/);
    assert.equal(await screen.getAttribute('body', 'data-view'), 'ready');
    await codeOn(screen);
  } finally {
    await camera.close();
    await screen.close();
    await hasty.stop();
  }
});

test('the camera is asked for from behind and in 720p or better, its light is offered where it has one, and it is off once nobody looks', async () => {
  const camera = await seesNothing();
  try {
    const customer = await guest(camera, server, { permissions: ['camera'] });
    await customer.addInitScript(() => {
      window.seen = { constraints: null, lights: [], tracks: [] };
      const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (constraints) => {
        window.seen.constraints = constraints;
        const media = await real(constraints);
        const [track] = media.getVideoTracks();
        track.getCapabilities = () => ({ torch: true });
        track.applyConstraints = async ({ advanced: [{ torch }] }) => { window.seen.lights.push(torch); };
        window.seen.tracks.push(track);
        return media;
      };
    });
    await customer.reload();
    await shows(customer, 'home');
    await customer.getByRole('button', { name: 'Scan a cart' }).click();
    await customer.locator('#camera-text', { hasText: 'inside the frame' }).waitFor();
    const light = customer.getByRole('button', { name: 'Light' });
    await inspect(customer, 'camera');
    await light.click();
    await customer.waitForSelector('#torch[aria-pressed="true"]');
    await light.click();
    await customer.waitForSelector('#torch[aria-pressed="false"]');
    const { video } = await customer.evaluate(() => window.seen.constraints);
    assert.deepEqual(video, { facingMode: { ideal: 'environment' }, width: { ideal: 1280 }, height: { ideal: 720 } });
    assert.deepEqual(await customer.evaluate(() => window.seen.lights), [true, false]);
    await customer.getByRole('button', { name: 'Cancel' }).click();
    await shows(customer, 'home');
    await until(() => customer.evaluate(() => window.seen.tracks.map((track) => track.readyState)), (states) => states.length === 1 && states[0] === 'ended', 'the camera to go off');
  } finally {
    await camera.close();
  }
});

test('a camera without a light offers none, and going back in the browser turns it off', async () => {
  const camera = await seesNothing();
  try {
    const customer = await guest(camera, server, { permissions: ['camera'] });
    await customer.getByRole('button', { name: 'Scan a cart' }).click();
    await customer.locator('#camera-text', { hasText: 'inside the frame' }).waitFor();
    assert.equal(await customer.locator('#torch').isVisible(), false);
    await customer.goBack();
    await shows(customer, 'home');
    assert.equal(await customer.evaluate(() => document.querySelector('#video').srcObject), null);
  } finally {
    await camera.close();
  }
});

test('a cart’s screen is enrolled by holding the admin’s picture before its camera', async () => {
  const desk = await staffDesk(browser, server);
  await desk.getByRole('link', { name: 'Carts' }).click();
  await desk.locator('#cart-rows tr', { hasText: 'Cart 3' }).getByRole('button', { name: 'Enrol' }).click();
  await desk.locator('#dialog').getByRole('button', { name: 'Make a code' }).click();
  await desk.locator('.enrolment svg').waitFor();
  await inspect(desk, 'enrolment');
  const camera = await filming(desk.locator('#dialog'), 'enrolment');
  try {
    const screen = await newPage(camera, 'cart', { permissions: ['camera'] });
    await screen.goto(`${server.url}/cart/`);
    await shows(screen, 'enrol');
    await screen.getByRole('button', { name: 'Scan it' }).click();
    await codeOn(screen);
    assert.equal(await screen.locator('#label').innerText(), 'Cart 3');
    assert.equal(await screen.locator('#enrol-video').evaluate((video) => video.srcObject), null, 'the camera is off');
    await screen.reload();
    await codeOn(screen);
    assert.deepEqual(screen.complaints, []);
  } finally {
    await camera.close();
  }
});

test('scanning for enrolment can be given up, and the code typed instead', async () => {
  const camera = await seesNothing();
  try {
    const screen = await newPage(camera, 'cart', { permissions: ['camera'] });
    await screen.goto(`${server.url}/cart/`);
    await shows(screen, 'enrol');
    await screen.getByRole('button', { name: 'Scan it' }).click();
    await screen.waitForFunction(() => document.querySelector('#enrol-video').readyState >= 2);
    await inspect(screen, 'enrolment by camera');
    await screen.getByRole('button', { name: 'Cancel' }).click();
    await screen.locator('#enrol-video').waitFor({ state: 'hidden' });
    await screen.getByRole('button', { name: 'Scan it' }).waitFor();
    assert.equal(await screen.locator('#enrol-problem').isVisible(), false);
    assert.equal(await screen.locator('#enrol-video').evaluate((video) => video.srcObject), null);
  } finally {
    await camera.close();
  }
});
