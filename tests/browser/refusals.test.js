// Every way in which it does not work has its screen and says what to do.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cartScreen, codeOn, guest, linkOf, openLink, phone, signIn } from './helpers/actors.js';
import { launch, newPage, shows } from './helpers/browser.js';
import { Server, until } from './helpers/server.js';

// Where codes die, they die soon; where they must not, they have the time they have in a store.
let server, hasty, browser;
before(async () => { [server, hasty, browser] = await Promise.all([Server.start(), Server.start(['--qr-ttl', '6s', '--qr-refresh', '2s']), launch()]); });
after(async () => { await browser?.close(); await Promise.all([server?.stop(), hasty?.stop()]); });

test('a used code, an old one and a stranger’s are told apart in plain words', async () => {
  const screen = await cartScreen(browser, server, '1');
  await codeOn(screen);
  const link = await linkOf(screen, '1');
  const [first, second] = await Promise.all([guest(browser, server), guest(browser, server)]);
  await openLink(first, server, link);
  await first.getByRole('button', { name: 'Connect' }).click();
  await shows(first, 'live');
  await openLink(second, server, link);
  await second.getByRole('button', { name: 'Connect' }).click();
  await shows(second, 'refused');
  assert.match(await second.locator('#refused-text').innerText(), /already been used/);
  await second.getByRole('button', { name: 'Cancel' }).click();
  await second.locator('summary').click();
  await second.getByLabel('Text of the code').fill('a shopping list');
  await second.locator('#paste').getByRole('button', { name: 'Connect' }).click();
  await shows(second, 'refused');
  assert.match(await second.locator('#refused-text').innerText(), /not the code of a cart/);
  await first.getByRole('button', { name: /^(Undo|End)$/ }).click();
  await shows(screen, 'ended');
  await screen.close();
});

test('a code that dies between the picture and the tap is refused with a look at the cart', async () => {
  const screen = await cartScreen(browser, hasty, '3');
  await codeOn(screen);
  const customer = await guest(browser, hasty);
  await openLink(customer, hasty, await linkOf(screen, '3'));
  const read = () => screen.evaluate(async () => (await fetch('/customer-session/qr/3.json')).json());
  const { expires_at: end } = await read();
  await until(read, ({ server_time: now }) => now > end, 'the code to expire');
  await customer.getByRole('button', { name: 'Connect' }).click();
  await shows(customer, 'refused');
  assert.match(await customer.locator('#refused-text').innerText(), /too old/);
  await screen.close();
});

test('a dead code is never on the screen, and a new one is there before the old one dies', async () => {
  const screen = await cartScreen(browser, hasty, '2');
  await codeOn(screen);
  const drawn = () => screen.evaluate(() => document.querySelector('#code svg path:last-child')?.getAttribute('d') ?? null);
  const first = await drawn();
  await screen.waitForFunction((old) => { const now = document.querySelector('#code svg path:last-child')?.getAttribute('d'); return now && now !== old; }, first);
  await screen.route('**/customer-session/qr/**', (route) => route.abort());
  await screen.waitForFunction(() => !document.querySelector('#code svg'));
  assert.match(await screen.locator('#code-wait').innerText(), /\S/);
  await screen.unroute('**/customer-session/qr/**');
  await codeOn(screen);
  await screen.close();
});

test('a camera that is refused, missing or on an insecure page has its own words', async () => {
  const said = async (patch) => {
    const page = await guest(browser, server);
    await page.addInitScript(patch);
    await page.reload();
    await shows(page, 'home');
    await page.getByRole('button', { name: 'Scan a cart' }).click();
    await shows(page, 'no-camera');
    const title = await page.locator('#no-camera-title').innerText();
    await page.getByRole('button', { name: 'Type the code instead' }).click();
    await shows(page, 'home');
    return title;
  };
  const refusing = (name) => `navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', '${name}'); }`;
  assert.match(await said(refusing('NotAllowedError')), /switched off/);
  assert.match(await said(refusing('NotFoundError')), /No camera/);
  assert.match(await said(refusing('NotReadableError')), /does not start/);
  assert.match(await said('Object.defineProperty(navigator, "mediaDevices", { value: undefined }); Object.defineProperty(window, "isSecureContext", { value: false })'), /secure page/);
});

test('a wrong password is refused, an ended sign-in leads back to it, and the code that was brought is not lost', async () => {
  const page = await phone(browser, server);
  await signIn(page, { email: server.demo.customer.email, password: 'not this one' });
  await page.locator('#sign-in-problem', { hasText: 'not right' }).waitFor();
  await signIn(page, server.demo.customer);
  await shows(page, 'home');
  await page.evaluate(() => {
    const kept = JSON.parse(localStorage.getItem('cartlink.customer'));
    localStorage.setItem('cartlink.customer', JSON.stringify({ ...kept, access: 'x.y.z', refresh: 'used-up' }));
  });
  await page.reload();
  await shows(page, 'welcome');
  assert.match(await page.locator('#welcome-text').innerText(), /ended/);

  const screen = await cartScreen(browser, server, '3');
  await codeOn(screen);
  const { hash } = new URL(await linkOf(screen, '3'));
  await page.goto('about:blank');
  await page.goto(`${server.url}/s${hash}`);
  await shows(page, 'welcome');
  await page.getByRole('button', { name: 'Go on as a guest' }).click();
  await shows(page, 'confirm');
  await screen.close();
});

test('offline is said, and goes away by itself', async () => {
  const page = await guest(browser, server);
  await page.context().setOffline(true);
  await page.locator('#offline', { hasText: 'offline' }).waitFor();
  await page.context().setOffline(false);
  await page.locator('#offline').waitFor({ state: 'hidden' });
});

test('a wrong enrolment code is refused, and a revoked screen asks for a new one', async () => {
  const screen = await newPage(browser, 'cart');
  await screen.goto(`${server.url}/cart/`);
  await shows(screen, 'enrol');
  await screen.getByLabel('Enrolment code').fill('AAAAA-BBBBB-CCCCC');
  await screen.getByRole('button', { name: 'Set up' }).click();
  await screen.locator('#enrol-problem', { hasText: 'not right' }).waitFor();
  await screen.close();
});
