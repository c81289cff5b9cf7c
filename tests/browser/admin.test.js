// The staff's page on the real server: what happens in the store shows on the floor, and what staff do shows in the store.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { asSignedIn, cartScreen, codeOn, guest, linkOf, openLink, staffDesk } from './helpers/actors.js';
import { launch, shows } from './helpers/browser.js';
import { Server } from './helpers/server.js';

let server, browser, desk, screen, customer;

before(async () => {
  server = await Server.start();
  browser = await launch();
  desk = await staffDesk(browser, server);
  screen = await cartScreen(browser, server);
  await codeOn(screen);
  customer = await guest(browser, server);
});
after(async () => { await browser?.close(); await server?.stop(); });

const tile = (state) => desk.waitForSelector(`.tile[data-state="${state}"]`);

/** Fills the dialog's field, if it has one, and agrees. */
async function agree(text) {
  if (text) await desk.locator('#dialog input').fill(text);
  await desk.locator('#dialog form .row button').first().click();
  await desk.waitForSelector('#dialog:not([open])', { state: 'attached' });
}

test('a scan, a forced end and its reason show on the floor, in the timeline and in the lists', async () => {
  await tile('free');
  await openLink(customer, server, await linkOf(screen));
  await customer.getByRole('button', { name: 'Connect' }).click();
  const shopping = await tile('in_use');
  await shopping.$eval('button', (button) => button.click());
  await desk.locator('#dialog a').click();
  await shows(desk, 'session');
  await desk.waitForSelector('#timeline li:nth-child(2)');
  await desk.locator('#session-end').click();
  await agree('left at the door');
  await desk.waitForFunction(() => document.querySelectorAll('#timeline li').length === 3);
  assert.equal(await desk.locator('#session-end').isHidden(), true);
  await codeOn(screen);

  await desk.goto(`${server.url}/admin/#/sessions`);
  await desk.waitForSelector('#session-rows tr');
  await desk.locator('#f-reason').selectOption('force_ended');
  await desk.locator('#f-text').fill('nowhere');
  await desk.waitForSelector('#sessions-none:not([hidden])');
  await desk.locator('#f-text').fill('');
  await desk.waitForSelector('#session-rows tr');
  const [download] = await Promise.all([desk.waitForEvent('download'), desk.locator('#csv').click()]);
  const table = await readFile(await download.path(), 'utf8');
  assert.equal(table.trim().split('\r\n').length, 2, table);
  assert.match(table, /,failed,,force_ended,/);

  const { data } = await asSignedIn(desk, 'cartlink.staff', 'GET', '/admin/audit');
  assert.deepEqual([data.items[0].action, data.items[0].detail], ['session.force_ended', 'left at the door']);
});

test('figures are drawn from what happened', async () => {
  await desk.goto(`${server.url}/admin/#/figures`);
  await desk.waitForSelector('#figures .key-figures');
  assert.equal(await desk.locator('#figures-problem').isHidden(), true);
  assert.ok((await desk.locator('#figures section.figure').count()) >= 3);
});

test('maintenance takes the code off the screen and shows on the floor', async () => {
  await desk.goto(`${server.url}/admin/#/carts`);
  await desk.locator('#cart-rows tr').first().getByRole('button', { name: 'Maintenance' }).click();
  await agree();
  await desk.goto(`${server.url}/admin/#/floor`);
  await tile('maintenance');
  await screen.waitForFunction(() => !document.querySelector('#code svg')?.checkVisibility());
  await desk.goto(`${server.url}/admin/#/carts`);
  await desk.locator('#cart-rows tr').first().getByRole('button', { name: 'Back in service' }).click();
  await agree();
  await codeOn(screen);
  assert.deepEqual(desk.complaints, []);
});
