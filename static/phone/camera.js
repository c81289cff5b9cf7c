// The camera's view: looks for a cart's code, and has words for every way in which there is no picture.

import { byId, say } from '/static/shared/dom.js';
import { t } from '/static/shared/i18n.js';
import { Scanner } from '/static/shared/scanner.js';
import { codeIn } from './link.js';
import { show } from './views.js';

/** Opens the camera; `onCode` is called with the first code of a cart it sees. */
export async function openCamera(onCode) {
  const scanner = new Scanner(byId('video'));
  const torch = byId('torch');
  torch.hidden = true;
  say(byId('camera-text'), t('camera.starting'));
  show('camera', { onLeave: () => scanner.stop() });
  byId('video').onplaying = () => {
    say(byId('camera-text'), t('camera.look'));
    torch.hidden = !scanner.hasTorch;
    torch.setAttribute('aria-pressed', 'false');
  };
  torch.onclick = async () => {
    const on = torch.getAttribute('aria-pressed') !== 'true';
    if (await scanner.light(on)) torch.setAttribute('aria-pressed', String(on));
  };
  try {
    const text = await scanner.next(isOurs);
    navigator.vibrate?.(60);
    onCode(codeIn(text));
  } catch (problem) {
    if (problem.kind !== 'stopped') explain(problem.kind ?? 'broken');
  }
}

function isOurs(text) {
  if (codeIn(text)) return true;
  say(byId('camera-text'), t('camera.other'));
  return false;
}

function explain(kind) {
  byId('camera-again').hidden = kind === 'insecure';
  show('no-camera', {
    draw: () => {
      byId('no-camera-title').textContent = t(`camera.${kind}.title`);
      byId('no-camera-text').textContent = t(`camera.${kind}.text`);
    },
  });
}
