// Sessions that wait: for somebody who went away, for the till. With the store's own settings, so that nobody waits for long.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { asSignedIn, codeOn, sessionOf, shopping, staffDesk } from './helpers/actors.js';
import { inspect, inspectBoth } from './helpers/axe.js';
import { launch, shows } from './helpers/browser.js';
import { Server, until } from './helpers/server.js';
import { Store } from './helpers/store.js';

const RECEIPT = { currency: 'EUR', total: 1018, items: [{ name: 'Sourdough bread', quantity: 1, amount: 420 }, { name: 'Tomatoes, 500 g', quantity: 2, amount: 598 }] };

let server, browser, store;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
  store = await Store.of(server);
});
beforeEach(() => store.settle({}));
after(async () => { await browser?.close(); await server?.stop(); });

const text = (page, selector) => page.locator(selector).innerText();
const close = (...pages) => Promise.all(pages.map((page) => page.close()));

/** From now on nobody does anything, and the store asks after five seconds. */
async function fallSilent(customer, settings) {
  const id = await sessionOf(customer);
  await store.settle({ idle_warning: 5, ...settings });
  assert.equal((await asSignedIn(customer, 'cartlink.customer', 'POST', `/customer-session/${id}/activity`)).status, 200);
}

test('who does nothing for long is asked on both screens and shows on the floor; a touch of either goes on shopping', async () => {
  const { screen, customer } = await shopping(browser, server, '1');
  const desk = await staffDesk(browser, server);
  await fallSilent(customer, { idle_expiry: 600 });
  await screen.waitForSelector('#idle[open]');
  await customer.waitForSelector('#live-idle:not([hidden])');
  await desk.locator('.tile[data-state="idle_warning"]', { hasText: 'Cart 1' }).waitFor();
  await desk.locator('#attention-list li', { hasText: 'Idle' }).filter({ hasText: 'Cart 1' }).waitFor();
  await inspect(screen, 'idle');
  await inspectBoth(customer, 'idle');
  await inspectBoth(desk, 'attention');
  assert.equal(await customer.locator('#checkout').isVisible(), false, 'first say that you are here');

  await store.settle({}); // once is enough to look at
  await screen.getByRole('button', { name: 'I am still here' }).click();
  await screen.waitForSelector('#idle:not([open])', { state: 'attached' });
  await until(() => text(customer, '#live-state'), (state) => state === 'Shopping', 'the phone to hear of it');
  await desk.locator('#attention').waitFor({ state: 'hidden' });

  await fallSilent(customer, { idle_expiry: 600 });
  await Promise.all([screen.waitForSelector('#idle[open]'), customer.waitForSelector('#live-idle:not([hidden])')]);
  await store.settle({});
  await customer.getByRole('button', { name: 'I am still here' }).click();
  await screen.waitForSelector('#idle:not([open])', { state: 'attached' });
  await until(() => text(customer, '#live-state'), (state) => state === 'Shopping', 'the warning to go');
  await customer.getByRole('button', { name: /^(Undo|End)$/ }).click();
  await shows(screen, 'ended');
  assert.deepEqual([screen.complaints, customer.complaints, desk.complaints], [[], [], []]);
  await close(screen, customer, desk);
});

test('who does not answer has left: both screens say that time is up, and the cart is free again', async () => {
  const { screen, customer } = await shopping(browser, server, '2');
  await fallSilent(customer, { idle_expiry: 8 });
  await Promise.all([shows(screen, 'ended'), shows(customer, 'done')]);
  assert.equal(await text(screen, '#ended-title'), 'Time is up');
  assert.deepEqual([await text(customer, '#done-title'), await text(customer, '#done-text')], ['Time is up', 'Nothing happened for a while.']);
  await inspect(customer, 'time is up');
  await codeOn(screen);
  await close(screen, customer);
});

test('where the till completes a checkout both screens wait for it, go back where it fails, and show its receipt', async () => {
  await store.settle({ checkout_mode: 'external', goodbye: 5 });
  const till = await store.till();
  const { screen, customer } = await shopping(browser, server, '3');
  const id = await sessionOf(customer);
  const desk = await staffDesk(browser, server);
  const checkOut = async () => {
    await customer.getByRole('button', { name: 'Check out' }).click();
    await Promise.all([shows(screen, 'checkout'), customer.waitForSelector('#live-paying:not([hidden])')]);
  };
  await checkOut();
  await desk.locator('.tile[data-state="checkout"]', { hasText: 'Cart 3' }).waitFor();
  assert.equal(await customer.locator('#end').isDisabled(), true, 'nobody leaves while paying');
  await inspectBoth(screen, 'checkout');
  await inspectBoth(customer, 'paying');

  await till.refuse(id);
  await Promise.all([shows(screen, 'shopping'), customer.locator('#live-problem', { hasText: 'did not go through' }).waitFor()]);
  await inspectBoth(customer, 'not paid');
  await checkOut();
  await till.pay(id, RECEIPT);
  await Promise.all([shows(screen, 'receipt'), shows(customer, 'done')]);
  assert.match(await text(screen, '#receipt'), /Tomatoes, 500 g × 2\s+€5\.98/);
  assert.match(await text(customer, '#done-receipt'), /Total\s+€10\.18/);
  await inspectBoth(customer, 'receipt');
  assert.equal(await customer.getAttribute('body', 'data-view'), 'done', 'another language shows the same');
  await codeOn(screen);
  assert.deepEqual([screen.complaints, customer.complaints, desk.complaints], [[], [], []]);
  await close(screen, customer, desk);
});
