// The staff's page in every place, over a store where something is going on.

import { staffDesk } from '../helpers/actors.js';
import { newPage, shows } from '../helpers/browser.js';
import { inArabic } from './cart.js';

const CARTS = 24;

export async function best({ browser, server, store, forReadme }) {
  await store.fill(CARTS);
  const desk = await staffDesk(browser, server);
  await desk.locator('.tile').nth(CARTS).waitFor();
  await desk.locator('#attention-list li').first().waitFor();
  await forReadme(desk, 'floor');
}

export async function everything({ browser, server, store, picture }) {
  await store.fill(CARTS);
  const visitor = await newPage(browser, 'desk');
  await visitor.goto(`${server.url}/admin/`);
  await shows(visitor, 'sign-in');
  await picture(visitor, 'staff-sign-in');
  const desk = await staffDesk(browser, server);
  const press = (name) => desk.locator('#dialog').getByRole('button', { name, exact: true }).click();
  await desk.locator('.tile').nth(CARTS).waitFor();
  await desk.locator('#attention-list li').first().waitFor();
  await picture(desk, 'staff-floor');
  await inArabic(desk, () => picture(desk, 'staff-floor-arabic'));
  await desk.locator('.tile[data-state="in_use"] button').first().click();
  await picture(desk, 'staff-cart');
  await press('End session');
  await picture(desk, 'staff-end');
  await desk.keyboard.press('Escape');
  await place(desk, 'Sessions', '#session-rows a', picture);
  await desk.locator('#session-rows a').first().click();
  await desk.locator('#timeline li').first().waitFor();
  await picture(desk, 'staff-session');
  await place(desk, 'Carts', '#cart-rows tr', picture);
  await desk.getByRole('button', { name: 'New cart' }).click();
  await picture(desk, 'staff-new-cart');
  await desk.keyboard.press('Escape');
  await desk.locator('#cart-rows').getByRole('button', { name: 'Enrol' }).first().click();
  await press('Make a code');
  await desk.locator('.enrolment svg').waitFor();
  await picture(desk, 'staff-enrolment');
  await press('Close');
  await desk.locator('#cart-rows').getByRole('button', { name: 'Revoke' }).first().click();
  await picture(desk, 'staff-revoke');
  await desk.keyboard.press('Escape');
  await place(desk, 'Figures', '.figure', picture);
  await inArabic(desk, () => picture(desk, 'staff-figures-arabic'));
}

async function place(desk, name, seen, picture) {
  await desk.getByRole('link', { name }).click();
  await desk.locator(seen).first().waitFor();
  await picture(desk, `staff-${name.toLowerCase()}`);
}
