// Looks for a QR code in one picture after the other, away from the page's own thread. The wasm comes from us, never from a CDN.

import { prepareZXingModule, readBarcodes } from '/static/vendor/zxing-wasm/reader/index.js';

prepareZXingModule({ overrides: { locateFile: (file) => `/static/vendor/zxing-wasm/reader/${file}` } });

const OPTIONS = { formats: ['QRCode'], maxNumberOfSymbols: 1, tryHarder: true, tryInvert: true, tryRotate: true, tryDownscale: true };

self.onmessage = async ({ data: picture }) => {
  const [found] = await readBarcodes(picture, OPTIONS).catch(() => []);
  self.postMessage(found?.isValid ? found.text : null);
};
