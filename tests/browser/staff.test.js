// What staff do, and that carts and phones show it at once.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { asSignedIn, cartScreen, codeOn, guest, linkOf, openLink, sessionOf, shopping, signIn, staffDesk } from './helpers/actors.js';
import { launch, newPage, shows } from './helpers/browser.js';
import { Server, until } from './helpers/server.js';
import { Store } from './helpers/store.js';

let server, browser, desk;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
  desk = await staffDesk(browser, server);
});
after(async () => { await browser?.close(); await server?.stop(); });

const tile = (label) => desk.locator('.tile', { has: desk.locator('.name', { hasText: label }) });
const inDialog = (name) => desk.locator('#dialog').getByRole('button', { name, exact: true });

/** What the last acts were, newest first, as the audit log has them. */
const audited = async (count) => (await (await Store.of(server)).audit()).slice(0, count).map(({ action }) => action);

async function openTile(label) {
  await desk.getByRole('link', { name: 'Floor' }).click();
  await tile(label).locator('button').click();
}

test('a cart is put into maintenance and back, and its screen says so both times', async () => {
  const screen = await cartScreen(browser, server, '1');
  await codeOn(screen);
  await openTile('Cart 1');
  await inDialog('Maintenance').click();
  await inDialog('Maintenance').click();
  await shows(screen, 'unavailable');
  assert.equal(await screen.locator('#unavailable-title').innerText(), 'Having a rest');
  await desk.waitForSelector('.tile[data-state="maintenance"]');
  await openTile('Cart 1');
  await inDialog('Back in service').click();
  await inDialog('Back in service').click();
  await shows(screen, 'ready');
  await codeOn(screen);
  await screen.close();
});

test('a session is ended with a reason, on both screens, and its timeline tells', async () => {
  const screen = await cartScreen(browser, server, '2');
  await codeOn(screen);
  const customer = await guest(browser, server);
  await openLink(customer, server, await linkOf(screen, '2'));
  await customer.getByRole('button', { name: 'Connect' }).click();
  await shows(screen, 'shopping');
  await desk.waitForSelector('.tile[data-state="in_use"]');
  await openTile('Cart 2');
  await inDialog('End session').click();
  await inDialog('End session').click();
  await desk.locator('#dialog [role="alert"]', { hasText: 'fill this in' }).waitFor();
  await desk.getByLabel('Why?').fill('left the store');
  await inDialog('End session').click();
  await Promise.all([shows(screen, 'ended'), shows(customer, 'done')]);
  assert.equal(await customer.locator('#done-text').innerText(), 'Ended by the store.');
  assert.deepEqual(await audited(1), ['session.force_ended']);
  await desk.getByRole('link', { name: 'Sessions' }).click();
  await desk.locator('#session-rows a').first().click();
  await desk.locator('#timeline li', { hasText: 'Ended by the store' }).waitFor();
  await Promise.all([screen.close(), customer.close()]);
});

test('a new cart is enrolled by its code, typed or brought along, and a revoked screen asks for another', async () => {
  await desk.getByRole('link', { name: 'Carts' }).click();
  await desk.getByRole('button', { name: 'New cart' }).click();
  await desk.getByLabel('Cart id').fill('nine');
  await desk.locator('#dialog').getByLabel('Label').fill('Cart 9');
  await inDialog('Create').click();
  const row = desk.locator('#cart-rows tr', { hasText: 'Cart 9' });
  const newCode = async () => {
    await row.getByRole('button', { name: 'Enrol' }).click();
    await inDialog('Make a code').click();
    await desk.locator('.enrolment svg').waitFor();
    const code = await desk.locator('.enrolment .mono').innerText();
    await inDialog('Close').click();
    return code;
  };
  const screen = await newPage(browser, 'cart');
  await screen.goto(`${server.url}/cart/`);
  await screen.getByLabel('Enrolment code').fill((await newCode()).toLowerCase());
  await screen.getByRole('button', { name: 'Set up' }).click();
  await codeOn(screen);
  assert.equal(await screen.locator('#label').innerText(), 'Cart 9');

  await row.getByRole('button', { name: 'Revoke' }).click();
  await inDialog('Revoke').click();
  await shows(screen, 'enrol');
  await screen.locator('#enrol-problem', { hasText: 'no longer enrolled' }).waitFor();

  assert.deepEqual(await audited(4), ['cart.revoked', 'cart.enrolled', 'cart.enrolment-issued', 'cart.created']);

  const code = await newCode();
  await screen.goto('about:blank');
  await screen.goto(`${server.url}/cart/#enrol=${code}`);
  await codeOn(screen);
  assert.equal(new URL(screen.url()).hash, '');
  await screen.close();
});

test('the list of sessions is filtered and downloaded', async () => {
  await desk.getByRole('link', { name: 'Sessions' }).click();
  await desk.locator('#session-rows tr').first().waitFor();
  await desk.getByLabel('Status').selectOption('completed');
  await desk.locator('#sessions-none').waitFor();
  await desk.getByLabel('Status').selectOption('failed');
  await desk.locator('#session-rows tr', { hasText: 'Ended by the store' }).waitFor();
  const [download] = await Promise.all([desk.waitForEvent('download'), desk.getByRole('button', { name: 'Download CSV' }).click()]);
  const [head, first] = (await readFile(await download.path(), 'utf8')).split('\r\n');
  assert.match(head, /^session_id,cart_id/);
  assert.match(first, /force_ended/);
  assert.deepEqual(desk.complaints, []);
});

test('a long list comes page by page, each session once', async () => {
  await (await Store.of(server)).pass(60);
  const page = await staffDesk(browser, server);
  await page.getByRole('link', { name: 'Sessions' }).click();
  const rows = page.locator('#session-rows tr');
  // Those that are there before the list is asked for anew are not what is looked for.
  await until(() => rows.count(), (count) => count === 50, 'the list of all');
  await rows.evaluateAll((all) => all.forEach((row) => { row.dataset.before = 'yes'; }));
  await page.getByLabel('Cart', { exact: true }).fill('passing');
  await until(() => page.locator('#session-rows tr[data-before]').count(), (count) => count === 0, 'the list of one cart');
  await until(() => rows.count(), (count) => count === 50, 'the first page');
  await page.getByRole('button', { name: 'Show more' }).click();
  await until(() => rows.count(), (count) => count === 60, 'the second page');
  assert.equal(new Set(await rows.locator('a').allInnerTexts()).size, 60);
  assert.equal(await page.getByRole('button', { name: 'Show more' }).isVisible(), false);
  await page.close();
});

test('who follows a session with the browser’s own EventSource sees the forced end as its last word', async () => {
  const { screen, customer } = await shopping(browser, server, '3');
  const id = await sessionOf(customer);
  await customer.evaluate((session) => {
    const { access } = JSON.parse(localStorage.getItem('cartlink.customer'));
    window.seen = [];
    window.source = new EventSource(`/session/${session}/events?token=${access}`);
    window.source.onmessage = ({ data }) => window.seen.push(JSON.parse(data));
  }, id);
  await customer.waitForFunction(() => window.seen.length > 0);
  await (await Store.of(server)).end(id, 'store closes');
  await customer.waitForFunction(() => window.source.readyState === EventSource.CLOSED);
  const seen = await customer.evaluate(() => window.seen);
  const { id: told, status, reason } = seen.at(-1);
  assert.deepEqual([seen[0].status, told, status, reason], ['fetched', String(id), 'failed', 'force_ended']);
  await Promise.all([shows(screen, 'ended'), shows(customer, 'done')]);
  await Promise.all([screen.close(), customer.close()]);
});

test('the floor opens with a ticket, without a credential of its own in the address', async () => {
  const frame = await desk.evaluate(async () => {
    const { access } = JSON.parse(localStorage.getItem('cartlink.staff'));
    const bought = await fetch('/stream-tickets', { method: 'POST', headers: { Authorization: `Bearer ${access}`, 'Content-Type': 'application/json' }, body: JSON.stringify({ store_id: 1 }) });
    const { ticket } = await bought.json();
    const source = new EventSource(`/admin/events?store_id=1&ticket=${ticket}`);
    return await new Promise((resolve, reject) => {
      source.onmessage = ({ data }) => { source.close(); resolve(JSON.parse(data)); };
      source.onerror = () => reject(new Error('the ticket opens nothing'));
    });
  });
  assert.equal(frame.type, 'floor');
  assert.ok(frame.carts.some(({ label }) => label === 'Cart 1'));
  assert.equal(typeof frame.counters.in_use, 'number');
});

test('what one desk does shows on another’s list of carts by itself, and is audited', async () => {
  const other = await staffDesk(browser, server);
  await other.getByRole('link', { name: 'Carts' }).click();
  const seen = other.locator('#cart-rows tr', { hasText: 'Cart 1' });
  await seen.locator('.chip', { hasText: 'In service' }).waitFor();
  await openTile('Cart 1');
  await inDialog('Maintenance').click();
  await inDialog('Maintenance').click();
  await seen.locator('.chip', { hasText: 'Maintenance' }).waitFor();
  await openTile('Cart 1');
  await inDialog('Back in service').click();
  await inDialog('Back in service').click();
  await seen.locator('.chip', { hasText: 'In service' }).waitFor();
  assert.deepEqual((await audited(2)), ['cart.changed', 'cart.changed']);
  assert.deepEqual(other.complaints, []);
  await other.close();
});

test('each role is offered what it may do, and is refused what it tries all the same', async () => {
  const store = await Store.of(server);
  const offered = {};
  for (const role of ['viewer', 'operator', 'manager']) {
    const who = { email: `${role}@demo.example`, password: 'carts on a string' };
    await store.hire({ ...who, role });
    const page = await newPage(browser, 'desk');
    await page.goto(`${server.url}/admin/#/carts`);
    await signIn(page, who);
    await page.locator('#cart-rows tr').first().waitFor();
    offered[role] = (await page.locator('main').getByRole('button').allInnerTexts()).filter((name, at, all) => name && all.indexOf(name) === at);
    await page.reload();
    await page.locator('#cart-rows tr').first().waitFor();
    assert.deepEqual((await page.locator('main').getByRole('button').allInnerTexts()).filter((name, at, all) => name && all.indexOf(name) === at), offered[role], 'after a reload too');
    const { status } = await asSignedIn(page, 'cartlink.staff', 'POST', '/carts/1/revoke');
    assert.equal(status, role === 'manager' ? 200 : 403, role);
    assert.deepEqual(page.complaints, []);
    await page.close();
  }
  assert.deepEqual(offered, { viewer: [], operator: ['Maintenance'], manager: ['New cart', 'Maintenance', 'Enrol', 'Revoke'] });
});

test('a customer who signs in here is told that this is for staff', async () => {
  const page = await newPage(browser, 'desk');
  await page.goto(`${server.url}/admin/`);
  await signIn(page, server.demo.customer);
  await page.locator('#sign-in-problem', { hasText: 'customer’s' }).waitFor();
  await shows(page, 'sign-in');
});
