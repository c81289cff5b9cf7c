// The demo, as `cartlink demo` points to it: three devices on one page, and one click.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, newPage } from './helpers/browser.js';
import { Server, until } from './helpers/server.js';

let server, browser;
before(async () => { [server, browser] = await Promise.all([Server.start(), launch()]); });
after(async () => { await browser?.close(); await server?.stop(); });

test('one click scans the cart beside, all three devices show it, and checkout ends with a receipt', async () => {
  const page = await newPage(browser, 'desk');
  await page.goto(`${server.url}/demo`);
  const [kiosk, handset, desk] = ['kiosk', 'handset', 'desk'].map((id) => page.frameLocator(`#${id}`));
  await page.waitForSelector('#scan:not([disabled])');
  await desk.locator('.tile[data-state="free"]').first().waitFor();
  await handset.locator('body[data-view="home"]').waitFor();
  await page.locator('#scan').click();
  await Promise.all([handset.locator('body[data-view="live"]').waitFor(), kiosk.locator('body[data-view="shopping"]').waitFor(), desk.locator('.tile[data-state="in_use"]').waitFor()]);
  const number = await kiosk.locator('#check-code').innerText();
  assert.equal(await handset.locator('#check-code').innerText(), number);
  await page.waitForSelector('#scan[disabled]'); // a cart that is taken cannot be scanned
  await until(() => handset.locator('#live-state').innerText(), (state) => state === 'Shopping', 'the pick-up');
  await handset.getByRole('button', { name: 'Check out' }).click();
  await Promise.all([kiosk.locator('#receipt table').waitFor(), handset.locator('#done-receipt table').waitFor()]);
  assert.equal(await kiosk.locator('#receipt tfoot td').innerText(), await handset.locator('#done-receipt tfoot td').innerText());
  assert.deepEqual(page.complaints, []);
});

test('another cart is a choice away', async () => {
  const page = await newPage(browser, 'desk');
  await page.goto(`${server.url}/demo`);
  const kiosk = page.frameLocator('#kiosk');
  await kiosk.locator('#label', { hasText: 'Cart 1' }).waitFor();
  await page.locator('#cart').selectOption('3');
  await kiosk.locator('#label', { hasText: 'Cart 3' }).waitFor();
  await kiosk.locator('#code svg').waitFor();
});
