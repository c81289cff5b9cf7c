// Both languages say everything, and say it with the same holes; the pages ask for nothing that is not there.

import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { pageModule } from './helpers/page-module.js';

const STATIC = new URL('../../static/', import.meta.url);
const PAGES = ['cart', 'phone', 'admin', 'demo'];
const load = async (page, language) => (await pageModule(`${page}/${language}.js`)).default;
const holes = (text) => [...JSON.stringify(text).matchAll(/\{(\w+)\}/g)].map(([, name]) => name).filter((name, at, all) => all.indexOf(name) === at).sort();

for (const page of [...PAGES, 'shared']) {
  test(`${page}: what English says, Arabic says too`, async () => {
    const [english, arabic] = [await load(page, 'en'), await load(page, 'ar')];
    assert.deepEqual(Object.keys(arabic).sort(), Object.keys(english).sort());
    for (const key of Object.keys(english)) {
      if (typeof english[key] === 'string') assert.deepEqual(holes(arabic[key]), holes(english[key]), key);
    }
  });
}

for (const page of PAGES) {
  test(`${page}: every word the page asks for is there`, async () => {
    const words = { ...(await load('shared', 'en')), ...(await load(page, 'en')) };
    const html = await readFile(new URL(`${page}/index.html`, STATIC), 'utf8');
    const asked = [...html.matchAll(/data-t(?:-label|-hint|-title)?="([^"]+)"/g)].map(([, key]) => key);
    for (const file of (await readdir(new URL(`${page}/`, STATIC))).filter((name) => name.endsWith('.js'))) {
      const code = await readFile(new URL(`${page}/${file}`, STATIC), 'utf8');
      asked.push(...[...code.matchAll(/[^\w.]t\('([^'${}]+)'/g)].map(([, key]) => key));
    }
    assert.deepEqual(asked.filter((key) => !(key in words)), []);
  });
}

test('no page carries inline script or style, which its policy would refuse, and none builds markup from text', async () => {
  for (const page of [...PAGES, 'docs', 'shared']) {
    for (const file of await readdir(new URL(`${page}/`, STATIC))) {
      if (!/\.(html|js|css)$/.test(file)) continue;
      const text = await readFile(new URL(`${page}/${file}`, STATIC), 'utf8');
      assert.doesNotMatch(text, /innerHTML|outerHTML|insertAdjacentHTML|document\.write/, `${page}/${file}`);
      if (file.endsWith('.html')) assert.doesNotMatch(text, /<style|\sstyle=|<script>|\son\w+=/, `${page}/${file}`);
    }
  }
});
