// The demo's stage, before, during and after.

import { newPage } from '../helpers/browser.js';
import { until } from '../helpers/server.js';

async function stage(browser, server) {
  const page = await newPage(browser, 'desk', { viewport: { width: 1280, height: 944 } });
  await page.goto(`${server.url}/demo`);
  await page.waitForSelector('#scan:not([disabled])');
  const [kiosk, handset, desk] = ['kiosk', 'handset', 'desk'].map((id) => page.frameLocator(`#${id}`));
  await desk.locator('.tile').first().waitFor();
  const scan = async () => {
    await page.locator('#scan').click();
    await desk.locator('.tile[data-state="in_use"]').waitFor();
    await Promise.all([kiosk.locator('#check-code span').first().waitFor(), handset.locator('#check-code span').first().waitFor()]);
    await until(() => handset.locator('#live-state').innerText(), (state) => state === 'Shopping', 'the pick-up');
  };
  return { page, kiosk, handset, scan };
}

export async function best({ browser, server, forReadme }) {
  const { page, scan } = await stage(browser, server);
  await scan();
  await forReadme(page, 'demo');
}

export async function everything({ browser, server, picture }) {
  const { page, kiosk, handset, scan } = await stage(browser, server);
  await picture(page, 'demo-ready');
  await scan();
  await picture(page, 'demo-shopping');
  await handset.getByRole('button', { name: 'Check out' }).click();
  await kiosk.locator('#receipt table').waitFor();
  await picture(page, 'demo-receipt');
}
