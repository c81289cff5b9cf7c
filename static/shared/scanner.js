// Reads QR codes from a camera: by the browser's own `BarcodeDetector` where there is one, else by zxing in a worker.

const PAUSE = 60; // between two looks: the phone stays cool and still sees a code at once
const LONGEST_SIDE = 1280;

/** Why there is no picture: `denied`, `none`, `insecure` or `broken`. */
export class CameraProblem extends Error {
  constructor(kind) {
    super(kind);
    this.kind = kind;
  }
}

export class Scanner {
  #video; #media = null; #stopped = false;

  constructor(video) {
    this.#video = video;
  }

  /** Starts the camera and gives the text of the first QR code that `wanted` accepts. */
  async next(wanted = () => true) {
    await this.#open();
    let detect = await detector();
    try {
      for (;;) {
        if (this.#stopped) throw new CameraProblem('stopped');
        const text = this.#video.readyState < 2 ? null : await detect(this.#video).catch((failure) => {
          if (detect.close) throw failure;
          detect = byWorker(); // the browser has a reader, and it does not work
          return null;
        });
        if (text && wanted(text)) return text;
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
      }
    } finally {
      detect.close?.();
    }
  }

  stop() {
    this.#stopped = true;
    for (const track of this.#media?.getTracks() ?? []) track.stop();
    this.#video.srcObject = null;
  }

  get hasTorch() {
    return Boolean(this.#track?.getCapabilities?.().torch);
  }

  /** Switches the light; false where the camera refuses. */
  async light(on) {
    return await this.#track.applyConstraints({ advanced: [{ torch: on }] }).then(() => true, () => false);
  }

  get #track() {
    return this.#media?.getVideoTracks()[0];
  }

  async #open() {
    if (!navigator.mediaDevices?.getUserMedia) throw new CameraProblem(isSecureContext ? 'none' : 'insecure');
    try {
      this.#media = await navigator.mediaDevices.getUserMedia({
        audio: false, video: { facingMode: { ideal: 'environment' }, width: { ideal: 1280 }, height: { ideal: 720 } },
      });
    } catch (failure) {
      throw new CameraProblem({ NotAllowedError: 'denied', SecurityError: 'denied', NotFoundError: 'none', OverconstrainedError: 'none' }[failure.name] ?? 'broken');
    }
    if (this.#stopped) return this.stop();
    this.#video.srcObject = this.#media;
    await this.#video.play().catch(() => {});
  }
}

async function detector() {
  const known = await globalThis.BarcodeDetector?.getSupportedFormats().catch(() => []) ?? [];
  return known.includes('qr_code') ? native() : byWorker();
}

function native() {
  const reader = new globalThis.BarcodeDetector({ formats: ['qr_code'] });
  return async (video) => (await reader.detect(video))[0]?.rawValue ?? null;
}

function byWorker() {
  const worker = new Worker('/static/shared/scan-worker.js', { type: 'module' });
  const canvas = document.createElement('canvas');
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  const detect = (video) => new Promise((resolve, reject) => {
    const scale = Math.min(1, LONGEST_SIDE / Math.max(video.videoWidth, video.videoHeight));
    canvas.width = Math.round(video.videoWidth * scale);
    canvas.height = Math.round(video.videoHeight * scale);
    pen.drawImage(video, 0, 0, canvas.width, canvas.height);
    const picture = pen.getImageData(0, 0, canvas.width, canvas.height);
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = () => reject(new CameraProblem('broken'));
    worker.postMessage(picture, [picture.data.buffer]);
  });
  detect.close = () => worker.terminate();
  return detect;
}
