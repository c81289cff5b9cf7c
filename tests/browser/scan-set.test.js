// One photograph of the cart's screen is enough, in the conditions of a store. `npm run scan-set` prints the whole figure.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scanSet, share } from './scan-set.js';

test('of a few dozen photographs, tilted, blurred, in glare and in low light, both readers read at least 97 of 100', async () => {
  const results = await scanSet(36);
  for (const reader of ['zxing', 'zbar']) {
    const missed = results.filter((result) => !result[reader]).map(({ camera, kind }) => `${camera}, ${kind}`);
    assert.ok(share(results, reader) >= 0.97, `${reader} missed ${missed.join('; ')}`);
  }
});
