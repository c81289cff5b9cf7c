// A film for Chromium's fake camera: a photograph of the cart's screen as a hand-held phone sees it, seen in perspective,
// moving, blurred and noisy. Made by a browser, so nothing but Chromium is needed; MJPEG is JPEG after JPEG.

import { writeFile } from 'node:fs/promises';

const WIDTH = 1280;
const HEIGHT = 720;
const FRAMES = 24;

/** Films a picture (PNG bytes) and writes the film to `path`. */
export async function makeFilm(browser, picture, path) {
  const context = await browser.newContext({ viewport: { width: WIDTH, height: HEIGHT } });
  const page = await context.newPage();
  await page.setContent(`<style>
    body { margin: 0; overflow: hidden; background: #6d6a63; perspective: 1100px }
    img { position: absolute; left: 13%; top: 8%; width: 74% }
    canvas { position: absolute; inset: 0; opacity: .16; mix-blend-mode: overlay }
  </style><img src="data:image/png;base64,${picture.toString('base64')}"><canvas width="${WIDTH}" height="${HEIGHT}"></canvas>`);
  const frames = [];
  for (let at = 0; at < FRAMES; at += 1) {
    await page.evaluate(drawFrame, at / FRAMES);
    frames.push(await page.screenshot({ type: 'jpeg', quality: 72 }));
  }
  await context.close();
  await writeFile(path, Buffer.concat(frames));
}

/** Runs in the page: the hand sways, the lens hunts, the sensor is noisy. */
function drawFrame(share) {
  const turn = share * 2 * Math.PI;
  const photo = document.querySelector('img');
  photo.style.transform = `rotateY(${14 * Math.sin(turn)}deg) rotateX(${9 * Math.cos(turn)}deg) rotate(${4 * Math.sin(turn * 2)}deg) scale(${0.92 + 0.1 * Math.cos(turn)})`;
  photo.style.filter = `blur(${0.5 + 0.6 * Math.abs(Math.sin(turn))}px) brightness(${0.82 + 0.12 * Math.cos(turn)}) contrast(0.85)`;
  const canvas = document.querySelector('canvas');
  const pen = canvas.getContext('2d');
  const noise = pen.createImageData(canvas.width, canvas.height);
  for (let byte = 0; byte < noise.data.length; byte += 4) {
    const grey = Math.random() * 255;
    noise.data[byte] = noise.data[byte + 1] = noise.data[byte + 2] = grey;
    noise.data[byte + 3] = 255;
  }
  pen.putImageData(noise, 0, 0);
}
