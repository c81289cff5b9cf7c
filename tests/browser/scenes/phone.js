// The customer's page in every state it has.

import { cartScreen, codeOn, guest, linkOf, openLink, phone, sessionOf, shopping, signIn } from '../helpers/actors.js';
import { shows } from '../helpers/browser.js';
import { inArabic, later, RECEIPT } from './cart.js';

export async function best({ browser, server, forReadme }) {
  const { customer } = await shopping(browser, server, '2', await signedIn(browser, server));
  await later(customer, 9_000);
  await customer.locator('#live-time', { hasText: /0:(09|1)/ }).waitFor();
  await forReadme(customer, 'phone');
}

async function signedIn(browser, server, options = {}) {
  const page = await phone(browser, server, options);
  await signIn(page, server.demo.customer);
  await shows(page, 'home');
  return page;
}

export async function everything({ browser, server, store, picture }) {
  await welcome(browser, server, picture);
  await camera(browser, server, picture);
  const customer = await signedIn(browser, server);
  await aSession(browser, server, store, picture, customer);
  await aMove(browser, server, picture, customer);
  await afterwards(browser, server, store, picture, customer);
}

async function welcome(browser, server, picture) {
  const page = await phone(browser, server);
  await picture(page, 'phone-welcome');
  await inArabic(page, () => picture(page, 'phone-welcome-arabic'));
  await signIn(page, { email: 'nobody@demo.example', password: 'not this one' });
  await page.waitForSelector('#sign-in-problem:not([hidden])');
  await picture(page, 'phone-wrong-password');
  await page.getByRole('button', { name: /New here/ }).click();
  await picture(page, 'phone-sign-up');
  await signIn(page, server.demo.customer).catch(() => {});
  await page.close();
  const ended = await signedIn(browser, server);
  await ended.evaluate(() => {
    const kept = JSON.parse(localStorage.getItem('cartlink.customer'));
    localStorage.setItem('cartlink.customer', JSON.stringify({ ...kept, access: 'x.y.z', refresh: 'used-up' }));
  });
  await ended.reload();
  await shows(ended, 'welcome');
  await picture(ended, 'phone-sign-in-ended');
  await ended.close();
}

async function camera(browser, server, picture) {
  const page = await guest(browser, server, { permissions: ['camera'] });
  await picture(page, 'phone-home-guest');
  await page.locator('summary').click();
  await picture(page, 'phone-home-paste');
  await page.getByRole('button', { name: 'Scan a cart' }).click();
  await page.locator('#camera-text', { hasText: 'inside the frame' }).waitFor();
  await page.evaluate(() => { document.querySelector('#torch').hidden = false; });
  await picture(page, 'phone-camera');
  await page.close();
  for (const [kind, name] of [['denied', 'NotAllowedError'], ['none', 'NotFoundError'], ['broken', 'NotReadableError']]) {
    const without = await guest(browser, server);
    await without.addInitScript(`navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', '${name}'); }`);
    await without.reload();
    await shows(without, 'home');
    await without.getByRole('button', { name: 'Scan a cart' }).click();
    await shows(without, 'no-camera');
    await picture(without, `phone-camera-${kind}`);
    await without.close();
  }
}

async function aSession(browser, server, store, picture, customer) {
  await store.settle({ checkout_mode: 'external', idle_warning: 45, idle_expiry: 900 });
  const till = await store.till();
  const screen = await cartScreen(browser, server, '1');
  await codeOn(screen);
  await screen.route('**/ack', (route) => route.abort());
  await openLink(customer, server, await linkOf(screen, '1'));
  await picture(customer, 'phone-confirm');
  await customer.getByRole('button', { name: 'Connect' }).click();
  await shows(customer, 'live');
  await picture(customer, 'phone-connecting');
  await screen.unroute('**/ack');
  await customer.locator('#live-state', { hasText: 'Shopping' }).waitFor();
  await picture(customer, 'phone-live');
  await inArabic(customer, () => picture(customer, 'phone-live-arabic'));
  await later(customer, 754_000);
  await customer.locator('#end', { hasText: 'End' }).waitFor();
  await picture(customer, 'phone-later');
  await customer.getByRole('button', { name: 'End', exact: true }).click();
  await picture(customer, 'phone-end-dialog');
  await customer.getByRole('button', { name: 'Keep shopping' }).click();
  await customer.context().setOffline(true);
  await customer.waitForSelector('#offline:not([hidden])');
  await picture(customer, 'phone-offline');
  await customer.context().setOffline(false);
  await customer.waitForSelector('#live-idle:not([hidden])', { timeout: 120_000 });
  await picture(customer, 'phone-idle');
  await customer.getByRole('button', { name: 'I am still here' }).click();
  const checkOut = async () => { await customer.getByRole('button', { name: 'Check out' }).click(); await customer.waitForSelector('#live-paying:not([hidden])'); };
  await checkOut();
  await picture(customer, 'phone-paying');
  const id = await sessionOf(customer);
  await till.refuse(id);
  await customer.locator('#live-problem', { hasText: 'did not go through' }).waitFor();
  await picture(customer, 'phone-not-paid');
  await checkOut();
  await till.pay(id, RECEIPT);
  await shows(customer, 'done');
  await picture(customer, 'phone-receipt');
  await inArabic(customer, () => picture(customer, 'phone-receipt-arabic'));
  await customer.getByRole('button', { name: 'Done' }).click();
  await store.settle({});
  await screen.close();
}

async function aMove(browser, server, picture, customer) {
  const { screen } = await shopping(browser, server, '2', customer);
  const next = await cartScreen(browser, server, '3');
  await codeOn(next);
  await next.route('**/ack', (route) => route.abort());
  await customer.evaluate(() => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError'); }; });
  await customer.getByRole('button', { name: 'Change cart' }).click();
  await shows(customer, 'no-camera');
  await customer.getByRole('button', { name: 'Type the code instead' }).click();
  await customer.waitForSelector('#paste-dialog[open]');
  await picture(customer, 'phone-paste-dialog');
  await customer.getByLabel('Text of the code').fill(await linkOf(next, '3'));
  await customer.locator('#paste').getByRole('button', { name: 'Connect' }).click();
  await customer.waitForSelector('#move-dialog[open]');
  await picture(customer, 'phone-move-dialog');
  await customer.locator('#move-go').click();
  await customer.locator('#live-moving:not([hidden])').waitFor();
  await picture(customer, 'phone-moving');
  await customer.locator('#live-problem', { hasText: 'You still have' }).waitFor();
  await picture(customer, 'phone-stayed');
  await shows(next, 'ended');
  await picture(next, 'cart-not-moved');
  await customer.getByRole('button', { name: 'End', exact: true }).click();
  await customer.locator('#end-go').click();
  await shows(customer, 'done');
  await picture(customer, 'phone-ended');
  await customer.getByRole('button', { name: 'Done' }).click();
  await Promise.all([screen.close(), next.close()]);
}

async function afterwards(browser, server, store, picture, customer) {
  await store.settle({ idle_warning: 5, idle_expiry: 8 });
  const { screen } = await shopping(browser, server, '1', customer);
  await shows(customer, 'done');
  await picture(customer, 'phone-expired');
  await customer.getByRole('button', { name: 'Done' }).click();
  await customer.locator('#recent-list li').first().waitFor();
  await picture(customer, 'phone-home');
  await inArabic(customer, () => picture(customer, 'phone-home-arabic'));
  await customer.getByRole('button', { name: 'Show all' }).click();
  await customer.locator('#past-list li').first().waitFor();
  await picture(customer, 'phone-past');
  await openLink(customer, server, `${server.url}/s#00000000000000000000000000000000AB`);
  await customer.getByRole('button', { name: 'Connect' }).click();
  await shows(customer, 'refused');
  await picture(customer, 'phone-refused');
  await screen.close();
}
