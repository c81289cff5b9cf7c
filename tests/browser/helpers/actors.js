// The people of the tests: a cart's screen, a customer with a phone, staff at the desk. They do what people do, through the pages.

import { newPage, shows } from './browser.js';
import { until } from './server.js';

/** A screen enrolled as one of the demo's carts, showing what it shows. */
export async function cartScreen(browser, server, id = '1', options = {}) {
  const page = await newPage(browser, 'cart', options);
  await page.goto(`${server.url}/cart/`);
  await page.evaluate(async (cart) => {
    const answer = await fetch(`/demo/enrol/${cart}`, { method: 'POST' });
    const { cart_id: cartId, label } = await answer.json();
    localStorage.setItem('cartlink.cart', JSON.stringify({ id: String(cartId), label }));
  }, id);
  await page.reload();
  return page;
}

/** Waits for the code to be drawn. */
export const codeOn = (screen) => screen.waitForSelector('#code svg');

/** A phone on which nobody is signed in. */
export async function phone(browser, server, options = {}) {
  const page = await newPage(browser, 'phone', { hasTouch: true, isMobile: true, ...options });
  await page.goto(`${server.url}/app/`);
  await shows(page, 'welcome');
  return page;
}

export async function signIn(page, { email, password }) {
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}

export async function guest(browser, server, options = {}) {
  const page = await phone(browser, server, options);
  await page.getByRole('button', { name: 'Go on as a guest' }).click();
  await shows(page, 'home');
  return page;
}

/** Opens the link of the cart's picture, as the phone's own camera app would, and taps. */
export async function openLink(page, server, link) {
  const { pathname, hash } = new URL(link);
  await page.goto('about:blank');
  await page.goto(`${server.url}${pathname}${hash}`);
  await shows(page, 'confirm');
}

/** The link in the picture on a screen, asked for with the screen's own cookie. */
export async function linkOf(screen, id = '1') {
  return await screen.evaluate(async (cart) => (await (await fetch(`/customer-session/qr/${cart}.json`)).json()).payload, id);
}

/** Screen and phone, connected and shopping; a phone that is given is used. */
export async function shopping(browser, server, cart, customer = null) {
  const screen = await cartScreen(browser, server, cart);
  await codeOn(screen);
  customer ??= await guest(browser, server);
  await openLink(customer, server, await linkOf(screen, cart));
  await customer.getByRole('button', { name: 'Connect' }).click();
  await Promise.all([shows(customer, 'live'), shows(screen, 'shopping')]);
  await until(() => customer.locator('#live-state').innerText(), (state) => state === 'Shopping', 'the cart to pick it up');
  return { screen, customer };
}

/** The session a phone has open. */
export async function sessionOf(customer) {
  return await customer.evaluate(async () => {
    const { access, user } = JSON.parse(localStorage.getItem('cartlink.customer'));
    return (await (await fetch(`/customer-session/active/${user.id}`, { headers: { Authorization: `Bearer ${access}` } })).json()).session_id;
  });
}

export async function staffDesk(browser, server, options = {}) {
  const page = await newPage(browser, 'desk', options);
  await page.goto(`${server.url}/admin/`);
  await shows(page, 'sign-in');
  await signIn(page, server.demo.admin);
  await shows(page, 'floor');
  return page;
}

/** Sends a request as whoever is signed in on the page. */
export async function asSignedIn(page, key, method, path, json) {
  return await page.evaluate(async ([stored, verb, where, body]) => {
    const { access } = JSON.parse(localStorage.getItem(stored));
    const answer = await fetch(where, { method: verb, headers: { Authorization: `Bearer ${access}`, ...(body ? { 'Content-Type': 'application/json' } : {}) }, body: body && JSON.stringify(body) });
    return { status: answer.status, data: await answer.json().catch(() => null) };
  }, [key, method, path, json]);
}
