// How often one photograph of the cart's screen is enough, by the two most used readers:
//
//   npm run scan-set            prints the figure for each camera and condition
//   npm run scan-set -- FOLDER  also keeps the photographs, and names those that were not read
//
// zbar is Debian's zbarimg; zxing is the reader we vendor for phones.

import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cartScreen, codeOn } from './helpers/actors.js';
import { launch } from './helpers/browser.js';
import { CAMERAS, conditions, photograph } from './helpers/photograph.js';
import { Server } from './helpers/server.js';

/** Decodes JPEGs with zxing in the browser, as the phone page does. */
async function byZxing(page, photographs) {
  return await page.evaluate(async (pictures) => {
    const { prepareZXingModule, readBarcodes } = await import('/static/vendor/zxing-wasm/reader/index.js');
    prepareZXingModule({ overrides: { locateFile: (file) => `/static/vendor/zxing-wasm/reader/${file}` } });
    const texts = [];
    for (const picture of pictures) {
      const bytes = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
      const [found] = await readBarcodes(new Blob([bytes]), { formats: ['QRCode'], maxNumberOfSymbols: 1, tryHarder: true });
      texts.push(found?.isValid ? found.text : null);
    }
    return texts;
  }, photographs.map((picture) => picture.toString('base64')));
}

function byZbar(path) {
  return new Promise((resolve) => {
    execFile('zbarimg', ['--raw', '--quiet', '-Sdisable', '-Sqrcode.enable', path], (_, text) => resolve(text.trim() || null));
  });
}

/** Photographs a cart's screen `count` times with each camera: `[{ camera, kind, zbar, zxing }]`, true where it was read. */
export async function scanSet(count, folder = null) {
  const scratch = folder ?? await mkdtemp(join(tmpdir(), 'cartlink-photographs-'));
  await mkdir(scratch, { recursive: true });
  const [server, browser] = await Promise.all([Server.start(), launch()]);
  try {
    const screen = await cartScreen(browser, server);
    await codeOn(screen);
    const picture = await screen.screenshot();
    const [expected] = await byZxing(screen, [picture]);
    if (!expected) throw new Error('the screen itself cannot be read: is its code there?');
    const results = [];
    for (const camera of CAMERAS) {
      const list = conditions(count);
      const photographs = await photograph(browser, picture, camera, list);
      const zxing = await byZxing(screen, photographs);
      for (const [at, { kind }] of list.entries()) {
        const path = join(scratch, `${camera.width}-${String(at).padStart(3, '0')}-${kind.replace(' ', '-')}.jpg`);
        await writeFile(path, photographs[at]);
        results.push({ camera: camera.name, kind, path, zbar: (await byZbar(path)) === expected, zxing: zxing[at] === expected });
      }
    }
    return results;
  } finally {
    await browser.close();
    await server.stop();
    if (!folder) await rm(scratch, { recursive: true, force: true });
  }
}

/** The share of `results` that a reader read. */
export const share = (results, reader) => results.filter((result) => result[reader]).length / results.length;

function report(results) {
  const line = (name, some) => `${name.padEnd(34)} ${String(some.length).padStart(4)}  ${['zxing', 'zbar'].map((reader) => `${(share(some, reader) * 100).toFixed(1).padStart(5)} %`).join('  ')}`;
  const lines = ['photographs                              n    zxing     zbar'];
  for (const camera of CAMERAS) {
    const own = results.filter((result) => result.camera === camera.name);
    lines.push(line(camera.name, own));
    for (const kind of new Set(own.map((result) => result.kind))) lines.push(line(`  ${kind}`, own.filter((result) => result.kind === kind)));
  }
  return lines.join('\n');
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const results = await scanSet(240, process.argv[2]);
  console.log(report(results));
  for (const { path, zxing, zbar } of results.filter((one) => process.argv[2] && !(one.zxing && one.zbar))) console.log(`not by ${[!zxing && 'zxing', !zbar && 'zbar'].filter(Boolean).join(' and ')}: ${path}`);
}
