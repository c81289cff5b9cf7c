// axe-core, asked about a page in the state it is in.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Looks at the page as it is now, in both schemes. The page's policy forbids a foreign script tag; evaluating does not need one. */
export async function inspect(page, state) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.evaluate(settled);
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`);
    assert.deepEqual(found, [], `${state}, ${colorScheme}`);
  }
}

/** Runs in the page: a colour that is still fading from one scheme to the other is neither's. */
async function settled() {
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  await Promise.all(document.getAnimations().filter((one) => one.effect.getComputedTiming().iterations !== Infinity).map((one) => one.finished.catch(() => {})));
}

/** Also in the other language, where everything is mirrored. */
export async function inspectBoth(page, state) {
  await inspect(page, state);
  await page.locator('[data-language]').click();
  await page.waitForSelector('html[dir="rtl"]');
  await inspect(page, `${state}, Arabic`);
  await page.locator('[data-language]').click();
  await page.waitForSelector('html[dir="ltr"]');
}
