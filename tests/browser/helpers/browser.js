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
  page.complaints = [];
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  page.on('console', (message) => {
    // A refused request is an answer the pages deal with; the browser logs it all the same.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) page.complaints.push(message.text());
  });
  return page;
}

/** Waits until a page of ours shows a view. */
export const shows = (page, view, options) => page.waitForSelector(`body[data-view="${view}"]`, options);
