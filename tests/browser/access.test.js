// axe-core finds nothing on any state of any page, in light and in dark, from left to right and from right to left.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { asSignedIn, cartScreen, codeOn, guest, linkOf, openLink, phone, staffDesk } from './helpers/actors.js';
import { inspect, inspectBoth } from './helpers/axe.js';
import { launch, newPage, shows } from './helpers/browser.js';
import { Server, until } from './helpers/server.js';

let server, browser;
before(async () => { [server, browser] = await Promise.all([Server.start(), launch()]); });
after(async () => { await browser?.close(); await server?.stop(); });

test('the cart’s screen, from enrolment to goodbye, and the phone beside it', async () => {
  const blank = await newPage(browser, 'cart');
  await blank.goto(`${server.url}/cart/`);
  await shows(blank, 'enrol');
  await inspectBoth(blank, 'enrol');
  const screen = await cartScreen(browser, server, '1');
  await codeOn(screen);
  await inspectBoth(screen, 'ready');

  const visitor = await phone(browser, server);
  await inspectBoth(visitor, 'welcome');
  await visitor.getByRole('button', { name: /New here/ }).click();
  await inspect(visitor, 'sign up');
  const customer = await guest(browser, server);
  await inspectBoth(customer, 'home');
  await customer.getByRole('button', { name: 'Scan a cart' }).click();
  await shows(customer, 'no-camera');
  await inspect(customer, 'no camera');
  await customer.getByRole('button', { name: 'Type the code instead' }).click();
  await customer.getByLabel('Text of the code').fill('nonsense');
  await customer.locator('#paste').getByRole('button', { name: 'Connect' }).click();
  await shows(customer, 'refused');
  await inspect(customer, 'refused');

  await openLink(customer, server, await linkOf(screen));
  await inspect(customer, 'confirm');
  await customer.getByRole('button', { name: 'Connect' }).click();
  await Promise.all([shows(customer, 'live'), shows(screen, 'shopping')]);
  // Asked for the first minute only, after which the question goes away by itself.
  await screen.getByRole('button', { name: 'Not you?' }).click();
  await inspect(screen, 'not you');
  await screen.getByRole('button', { name: 'It is me' }).click({ timeout: 60_000 }).catch(() => {});
  await screen.waitForSelector('#release-dialog:not([open])', { state: 'attached' });
  await inspectBoth(screen, 'shopping');
  await screen.getByRole('button', { name: 'Help' }).click();
  await inspect(screen, 'help');
  await screen.getByRole('button', { name: 'Close' }).click();
  await inspectBoth(customer, 'live');
  await customer.getByRole('button', { name: 'Check out' }).click();
  await Promise.all([shows(customer, 'done'), shows(screen, 'receipt')]);
  await inspect(screen, 'receipt');
  await inspect(customer, 'done');
  await customer.getByRole('button', { name: 'Done' }).click();
  await customer.locator('#recent-list li').first().waitFor();
  await inspectBoth(customer, 'home, with what was');
  await customer.getByRole('button', { name: 'Show all' }).click();
  await shows(customer, 'past');
  await customer.locator('#past-list li').first().waitFor();
  await inspect(customer, 'history');
});

test('what goes wrong looks right too: ended, in maintenance, lost, offline', async () => {
  const screen = await cartScreen(browser, server, '2');
  await codeOn(screen);
  const customer = await guest(browser, server);
  await openLink(customer, server, await linkOf(screen, '2'));
  await customer.getByRole('button', { name: 'Connect' }).click();
  await shows(screen, 'shopping');
  await customer.context().setOffline(true);
  await customer.waitForSelector('#offline:not([hidden])');
  await inspect(customer, 'offline');
  await customer.context().setOffline(false);
  await customer.getByRole('button', { name: /^(Undo|End)$/ }).click();
  await shows(screen, 'ended');
  await inspect(screen, 'ended');
  await codeOn(screen);

  const desk = await staffDesk(browser, server);
  const lifecycle = (value) => asSignedIn(desk, 'cartlink.staff', 'PATCH', '/carts/2', { lifecycle: value });
  await lifecycle('maintenance');
  await shows(screen, 'unavailable');
  await inspect(screen, 'unavailable');
  await lifecycle('in_service');
  await codeOn(screen);
  await screen.context().setOffline(true);
  await screen.waitForSelector('#lost:not([hidden])', { state: 'attached' });
  await inspect(screen, 'lost');
});

test('the staff’s page, every place and dialog', async () => {
  const screen = await cartScreen(browser, server, '3');
  await codeOn(screen);
  const customer = await guest(browser, server);
  await openLink(customer, server, await linkOf(screen, '3'));
  await customer.getByRole('button', { name: 'Connect' }).click();
  await shows(screen, 'shopping');

  const visitor = await newPage(browser, 'desk');
  await visitor.goto(`${server.url}/admin/`);
  await shows(visitor, 'sign-in');
  await inspectBoth(visitor, 'sign-in');
  const desk = await staffDesk(browser, server);
  await desk.locator('.tile[data-state="in_use"]').waitFor();
  await inspectBoth(desk, 'floor');
  await desk.locator('.tile[data-state="in_use"] button').click();
  await inspect(desk, 'a cart');
  await desk.keyboard.press('Escape');
  await desk.getByRole('link', { name: 'Sessions' }).click();
  await desk.locator('#session-rows a').first().waitFor();
  await inspectBoth(desk, 'sessions');
  await desk.locator('#session-rows a').first().click();
  await desk.locator('#timeline li').first().waitFor();
  await inspect(desk, 'a session');
  await desk.getByRole('link', { name: 'Carts' }).click();
  await desk.locator('#cart-rows tr').first().waitFor();
  await inspectBoth(desk, 'carts');
  await desk.getByRole('button', { name: 'New cart' }).click();
  await inspect(desk, 'new cart');
  await desk.keyboard.press('Escape');
  await desk.getByRole('link', { name: 'Figures' }).click();
  await desk.locator('.figure').first().waitFor();
  await inspectBoth(desk, 'figures');
});

test('the demo’s stage', async () => {
  const page = await newPage(browser, 'desk');
  await page.goto(`${server.url}/demo`);
  await page.waitForSelector('#scan:not([disabled])');
  await inspectBoth(page, 'demo');
});

test('the API’s reference, with a route unfolded', async () => {
  const page = await newPage(browser, 'desk');
  await page.goto(`${server.url}/docs`);
  await page.locator('.route', { hasText: '/customer-session/scan-qr' }).locator('summary').click();
  await inspect(page, 'docs');
  await page.getByLabel('Find a route').fill('heartbeat');
  await until(() => page.locator('.route:visible').count(), (count) => count === 1, 'the one route');
  assert.deepEqual(page.complaints, []);
});

test('the whole way on the phone goes by keyboard alone', async () => {
  const page = await phone(browser, server);
  const press = async (name) => {
    await until(async () => { await page.keyboard.press('Tab'); return await page.evaluate(() => document.activeElement.textContent.trim()); }, (text) => text === name, name);
    await page.keyboard.press('Enter');
  };
  await press('Go on as a guest');
  await shows(page, 'home');
  assert.equal(await page.evaluate(() => document.activeElement.tagName), 'H1', 'the focus is on the new view’s heading');
  await press('Type or paste the code');
  await page.keyboard.press('Tab');
  await page.keyboard.type('nonsense');
  await page.keyboard.press('Enter');
  await shows(page, 'refused');
});
