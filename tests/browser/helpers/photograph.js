// Photographs of a cart's screen as phones take them: from a distance, tilted, out of focus, in glare, in low light, as JPEG.
// Optics in numbers: a phone's camera sees about 65° across; a seven-inch screen of 1024 × 600 is 153.4 mm wide.

const SCREEN_MM = 153.4;
const FIELD_OF_VIEW = (65 * Math.PI) / 180;

export const CAMERAS = [
  { name: '640 × 480 at 30 cm', width: 640, height: 480, distance: 300 },
  { name: '1280 × 720 at 50 cm', width: 1280, height: 720, distance: 500 },
];

/** A row of conditions that is the same in every run: a photograph that fails can be taken again. */
export function conditions(count, seed = 7) {
  let state = seed;
  const random = (from, to) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // Numerical Recipes' generator
    return from + (to - from) * (state / 2 ** 32);
  };
  return Array.from({ length: count }, (_, at) => ({
    kind: ['plain', 'tilt', 'blur', 'glare', 'low light', 'everything'][at % 6],
    tiltX: random(-35, 35), tiltY: random(-35, 35), turn: random(-45, 45), blur: random(0.3, 1.2), glare: random(0.5, 0.85),
    glareX: random(40, 70), glareY: random(35, 65), light: random(0.2, 0.45), noise: random(0.1, 0.25), quality: Math.round(random(35, 80)), near: random(0.9, 1.1),
  }));
}

/** Takes photographs of a picture (PNG bytes) with a camera, one JPEG per condition. */
export async function photograph(browser, picture, camera, list) {
  const context = await browser.newContext({ viewport: { width: camera.width, height: camera.height } });
  const page = await context.newPage();
  const millimetres = 2 * camera.distance * Math.tan(FIELD_OF_VIEW / 2);
  await page.setContent(`<style>
    body { margin: 0; overflow: hidden; background: #5d5a55; perspective: ${camera.distance * (camera.width / millimetres)}px; display: grid; place-items: center; block-size: 100vh }
    img { inline-size: ${(SCREEN_MM / millimetres) * camera.width}px; border: ${camera.width / 110}px solid #16191b }
    i, canvas { position: absolute; inset: 0 }
  </style><img src="data:image/png;base64,${picture.toString('base64')}"><i></i><canvas width="${camera.width}" height="${camera.height}"></canvas>`);
  const photographs = [];
  for (const one of list) {
    await page.evaluate(pose, one);
    photographs.push(await page.screenshot({ type: 'jpeg', quality: one.quality }));
  }
  await context.close();
  return photographs;
}

/** Runs in the page: sets up one photograph. */
function pose({ kind, tiltX, tiltY, turn, blur, glare, glareX, glareY, light, noise, near }) {
  const has = (name) => kind === name || kind === 'everything';
  const ease = kind === 'everything' ? 0.6 : 1; // all at once, but nobody holds a phone that badly
  const photo = document.querySelector('img');
  photo.style.transform = `scale(${near}) ${has('tilt') ? `rotateX(${tiltX * ease}deg) rotateY(${tiltY * ease}deg)` : ''} rotate(${turn * (has('tilt') ? ease : 0.3)}deg)`;
  photo.style.filter = `blur(${has('blur') ? blur * ease : 0.15}px)`;
  document.body.style.filter = has('low light') ? `brightness(${light}) contrast(0.8)` : 'none';
  document.querySelector('i').style.background = has('glare') ? `radial-gradient(circle at ${glareX}% ${glareY}%, rgb(255 255 255 / ${glare * ease * 100}%), transparent 45%)` : 'none';
  const canvas = document.querySelector('canvas');
  canvas.style.opacity = has('low light') ? noise * ease : 0.03;
  const pen = canvas.getContext('2d');
  const grain = pen.createImageData(canvas.width, canvas.height);
  for (let byte = 0; byte < grain.data.length; byte += 4) {
    grain.data[byte] = grain.data[byte + 1] = grain.data[byte + 2] = Math.random() * 255;
    grain.data[byte + 3] = 255;
  }
  pen.putImageData(grain, 0, 0);
}
