// Pictures of every state of every page, to look at:
//
//   npm run pictures -- FOLDER [WORD]   all of them, or those of the scene WORD, at three sizes, in light and in dark
//   npm run pictures                    the README's only, into pictures/
//
// Against the real server, by the same people as in the tests.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launch, SIZES } from './helpers/browser.js';
import { Server } from './helpers/server.js';
import { Store } from './helpers/store.js';
import * as cart from './scenes/cart.js';
import * as demo from './scenes/demo.js';
import * as phone from './scenes/phone.js';
import * as staff from './scenes/staff.js';

const [given, only] = process.argv.slice(2);
const folder = given ?? fileURLToPath(new URL('pictures/', import.meta.url));
const SCENES = { demo, cart, phone, staff };

/** Two frames later, and with every colour faded to what it shall be, what was changed is painted. */
const painted = (page) => page.evaluate(async () => {
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  await frame();
  await Promise.all(document.getAnimations().filter((one) => one.effect.getComputedTiming().iterations !== Infinity).map((one) => one.finished.catch(() => {})));
  await frame();
});

/** The page as it is, at each size and in both schemes; then as it was. */
async function picture(page, name, sizes = Object.keys(SIZES)) {
  const before = page.viewportSize();
  for (const size of sizes) {
    await page.setViewportSize(SIZES[size]);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await painted(page);
      await page.screenshot({ path: join(folder, `${name}-${SIZES[size].width}-${colorScheme}.png`) });
    }
  }
  await page.setViewportSize(before);
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
}

/** One for the README: in light, at the size it has. */
async function forReadme(page, name) {
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
  await page.mouse.move(0, 0);
  await painted(page);
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

await mkdir(folder, { recursive: true });
for (const [name, scene] of Object.entries(SCENES)) {
  if (only && only !== name) continue;
  const [server, browser] = await Promise.all([Server.start(), launch(['--use-fake-device-for-media-stream'])]);
  try {
    const store = await Store.of(server);
    await (given ? scene.everything({ browser, server, store, picture }) : scene.best({ browser, server, store, forReadme }));
  } finally {
    await browser.close();
    await server.stop();
  }
}
