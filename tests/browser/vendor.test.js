// Other people's code is exactly what its authors published, and all of it is named.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { test } from 'node:test';

const FOLDER = new URL('../../static/vendor/', import.meta.url);
const { libraries } = JSON.parse(await readFile(new URL('vendor.json', FOLDER), 'utf8'));

test('every vendored file has the checksum that is written beside it', async () => {
  for (const { files } of libraries) {
    for (const [path, expected] of Object.entries(files)) {
      const found = createHash('sha256').update(await readFile(new URL(path, FOLDER))).digest('hex');
      assert.equal(found, expected, path);
    }
  }
});

test('no file lies in the folder that is not named, and each library says its version and licence', async () => {
  const named = libraries.flatMap(({ files }) => Object.keys(files)).sort();
  const present = (await readdir(FOLDER, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && entry.name !== 'vendor.json')
    .map((entry) => `${entry.parentPath ?? entry.path}/${entry.name}`.slice(FOLDER.pathname.length).replace(/^\//, '')).sort();
  assert.deepEqual(present, named);
  for (const library of libraries) assert.ok(library.version && library.licence && library.source, library.name);
});
