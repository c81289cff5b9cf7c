// One Chromium for a file of tests, and pages that fail a test when they complain.

import { chromium } from 'playwright-core';

const CHROMIUM = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium';

export const SIZES = { cart: { width: 1024, height: 600 }, phone: { width: 390, height: 844 }, desk: { width: 1440, height: 900 } };

export const launch = (flags = []) => chromium.launch({ executablePath: CHROMIUM, timeout: 120_000, args: ['--no-sandbox', '--disable-gpu', ...flags] });

/** A page in a browser profile of its own. `complaints` gathers what a developer would see in red. */
export async function newPage(browser, size, options = {}) {
  const context = await browser.newContext({ viewport: SIZES[size], locale: 'en-GB', reducedMotion: 'reduce', ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  await page.addInitScript(countGoodbyes, PASSING);
  page.complaints = [];
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  page.on('console', (message) => {
    // A refused request is an answer the pages deal with; the browser logs it all the same.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) page.complaints.push(message.text());
  });
  return page;
}

/** Goodbyes pass by themselves, and may have passed before a busy machine has told the test that its click was made. */
const PASSING = ['ended', 'receipt'];

/** Waits until a page of ours shows a view; of a goodbye, until it has shown another one. */
export async function shows(page, view, options) {
  if (!PASSING.includes(view)) return await page.waitForSelector(`body[data-view="${view}"]`, options);
  return await page.waitForFunction((wanted) => {
    const now = window.goodbyes[wanted] > 0;
    if (now) window.goodbyes[wanted] -= 1;
    return now;
  }, view, { polling: 100, ...options });
}

/** Runs in the page before its own code. */
function countGoodbyes(names) {
  window.goodbyes = Object.fromEntries(names.map((name) => [name, 0]));
  new MutationObserver(() => {
    const { view } = document.body.dataset;
    if (view in window.goodbyes) window.goodbyes[view] += 1;
  }).observe(document, { subtree: true, attributes: true, attributeFilter: ['data-view'] });
}
