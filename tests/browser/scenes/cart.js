// The cart's screen in every state it has.

import { asSignedIn, cartScreen, codeOn, phone, sessionOf, shopping, signIn, staffDesk } from '../helpers/actors.js';
import { newPage, shows } from '../helpers/browser.js';

export const RECEIPT = {
  currency: 'EUR', total: 1894,
  items: [{ name: 'Sourdough bread', quantity: 1, amount: 420 }, { name: 'Tomatoes, 500 g', quantity: 2, amount: 598 }, { name: 'Olive oil', quantity: 1, amount: 876 }],
};

/** Nothing on the page goes on by itself any more: a goodbye holds still for its picture. */
export const freeze = (page) => page.evaluate(() => { for (let id = setTimeout(() => {}); id > 0; id -= 1) clearTimeout(id); });

/** Later, as far as the page's texts know. */
export const later = (page, milliseconds) => page.evaluate((more) => {
  const [now, parse] = [performance.now.bind(performance), Date.parse];
  performance.now = () => now() + more;
  Date.parse = (text) => parse(text) + (/GMT$/.test(text) ? more : 0); // what the server's answers say the time is
}, milliseconds);

export async function inArabic(page, look) {
  await page.locator('[data-language]').click();
  await page.waitForSelector('html[dir="rtl"]');
  await look();
  await page.locator('[data-language]').click();
  await page.waitForSelector('html[dir="ltr"]');
}

async function customerOf(browser, server) {
  const page = await phone(browser, server);
  await signIn(page, server.demo.customer);
  await shows(page, 'home');
  return page;
}

export async function best({ browser, server, forReadme }) {
  const screen = await cartScreen(browser, server, '2');
  await codeOn(screen);
  await forReadme(screen, 'cart');
}

export async function everything({ browser, server, store, picture }) {
  await enrolment(browser, server, picture);
  const customer = await customerOf(browser, server);
  await beforeTheScan(browser, server, picture);
  await during(browser, server, store, picture, customer);
  await goodbyes(browser, server, store, picture, customer);
}

async function enrolment(browser, server, picture) {
  const blank = await newPage(browser, 'cart', { permissions: ['camera'] });
  await blank.goto(`${server.url}/cart/`);
  await shows(blank, 'enrol');
  await picture(blank, 'cart-enrol');
  await inArabic(blank, () => picture(blank, 'cart-enrol-arabic'));
  await blank.getByLabel('Enrolment code').fill('AAAAA-BBBBB-CCCCC');
  await blank.getByRole('button', { name: 'Set up' }).click();
  await blank.waitForSelector('#enrol-problem:not([hidden])');
  await picture(blank, 'cart-enrol-refused');
  await blank.getByRole('button', { name: 'Scan it' }).click();
  await blank.waitForFunction(() => document.querySelector('#enrol-video').readyState >= 2);
  await picture(blank, 'cart-enrol-camera');
  await blank.close();
}

async function beforeTheScan(browser, server, picture) {
  const screen = await cartScreen(browser, server, '2');
  await codeOn(screen);
  await picture(screen, 'cart-ready');
  await inArabic(screen, () => picture(screen, 'cart-ready-arabic'));
  const desk = await staffDesk(browser, server);
  const patch = (lifecycle) => asSignedIn(desk, 'cartlink.staff', 'PATCH', '/carts/2', { lifecycle });
  await patch('maintenance');
  await shows(screen, 'unavailable');
  await picture(screen, 'cart-maintenance');
  await patch('in_service');
  await codeOn(screen);
  await screen.evaluate(() => fetch('/carts/2/heartbeat', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"battery":4,"charging":false}' }));
  await shows(screen, 'unavailable');
  await picture(screen, 'cart-battery');
  await screen.evaluate(() => fetch('/carts/2/heartbeat', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"battery":90,"charging":false}' }));
  await codeOn(screen);
  await screen.context().setOffline(true);
  await screen.locator('#code-wait', { hasText: 'Reconnecting' }).waitFor();
  await picture(screen, 'cart-lost');
  await Promise.all([screen.close(), desk.close()]);
}

async function during(browser, server, store, picture, customer) {
  await store.settle({ checkout_mode: 'external', idle_warning: 60, idle_expiry: 900 });
  const till = await store.till();
  const { screen } = await shopping(browser, server, '1', customer);
  await picture(screen, 'cart-shopping');
  await inArabic(screen, () => picture(screen, 'cart-shopping-arabic'));
  await screen.getByRole('button', { name: 'Help' }).click();
  await picture(screen, 'cart-help');
  await screen.getByRole('button', { name: 'Close' }).click();
  await screen.getByRole('button', { name: 'Not you?' }).click();
  await picture(screen, 'cart-not-you');
  await screen.getByRole('button', { name: 'It is me' }).click();
  await later(screen, 754_000);
  await screen.locator('#hello', { hasText: 'Happy shopping' }).waitFor();
  await picture(screen, 'cart-later');
  await screen.context().setOffline(true);
  await screen.waitForSelector('#lost:not([hidden])');
  await picture(screen, 'cart-shopping-lost');
  await screen.context().setOffline(false);
  await screen.waitForSelector('#lost', { state: 'hidden' });
  await screen.waitForSelector('#idle[open]', { timeout: 120_000 });
  await picture(screen, 'cart-idle');
  await screen.getByRole('button', { name: 'I am still here' }).click();
  await screen.waitForSelector('#idle:not([open])', { state: 'attached' });
  await customer.getByRole('button', { name: 'Check out' }).click();
  await shows(screen, 'checkout');
  await picture(screen, 'cart-checkout');
  await till.pay(await sessionOf(customer), RECEIPT);
  await shows(screen, 'receipt');
  await freeze(screen);
  await picture(screen, 'cart-receipt');
  await inArabic(screen, () => picture(screen, 'cart-receipt-arabic'));
  await screen.close();
  await customer.getByRole('button', { name: 'Done' }).click();
  await store.settle({});
}

async function goodbyes(browser, server, store, picture, customer) {
  const held = async (name, cart, end, settings = {}) => {
    await store.settle(settings);
    const { screen } = await shopping(browser, server, cart, customer);
    await end(screen);
    await screen.waitForSelector('body:is([data-view="ended"], [data-view="receipt"])');
    await freeze(screen);
    await picture(screen, name);
    await screen.close();
    await customer.getByRole('button', { name: 'Done' }).click();
  };
  await held('cart-ended', '3', () => customer.getByRole('button', { name: 'Undo' }).click());
  await held('cart-released', '3', async (screen) => {
    await screen.getByRole('button', { name: 'Not you?' }).click();
    await screen.getByRole('button', { name: 'Disconnect' }).click();
  });
  await held('cart-expired', '3', () => {}, { idle_warning: 5, idle_expiry: 8 });
  await held('cart-receipt-none', '2', () => customer.getByRole('button', { name: 'Check out' }).click());
}
