// Enrolment: a one-time code, typed, scanned from the admin's picture, or brought along in the address, becomes this cart's cookie.

import { call } from '/static/shared/api.js';
import { byId, say, whileBusy } from '/static/shared/dom.js';
import { t } from '/static/shared/i18n.js';

const IN_A_PICTURE = /#(?:enrol=)?([\w-]+)$/;
const STORED = 'cartlink.cart';

/** The cart this screen belongs to. Only its id and name are kept here; the key lies in a cookie no script can read. */
export function enrolledCart() {
  try { return JSON.parse(localStorage.getItem(STORED)); } catch { return null; }
}

export const remember = (cart) => localStorage.setItem(STORED, JSON.stringify({ id: String(cart.cart_id), label: cart.label ?? String(cart.cart_id) }));
export const forget = () => localStorage.removeItem(STORED);

/** A code in the address (`/cart/#K7Q2-…`, the admin's enrolment picture) is taken out of it at once. */
export function codeInAddress() {
  const code = decodeURIComponent(location.hash.slice(1)).replace(/^enrol=/, '');
  if (code) history.replaceState(null, '', location.pathname + location.search);
  return code;
}

/** Makes the form work; `onDone` is called with the enrolled cart kept. */
export function offerEnrolment(onDone) {
  const input = byId('enrol-code');
  const form = byId('enrol-form');
  form.onsubmit = (event) => {
    event.preventDefault();
    scanning?.stop();
    whileBusy(form.querySelector('.act'), () => enrol(input.value.trim(), onDone));
  };
  const scan = byId('enrol-scan');
  scan.hidden = !navigator.mediaDevices?.getUserMedia;
  scan.onclick = () => (scanning ? scanning.stop() : scanCode(input, form, scan));
}

export async function enrol(code, onDone) {
  if (!code) return complain(t('enrol.empty'));
  try {
    remember((await call('POST', '/carts/enrol', { json: { code } })).data);
    byId('enrol-code').value = '';
    complain('');
    onDone();
  } catch (refused) {
    complain(refused.passing ? refused.text : t('enrol.bad'));
  }
}

export function complain(text) {
  const place = byId('enrol-problem');
  place.hidden = !text;
  place.textContent = text;
  byId('enrol-code').setAttribute('aria-invalid', String(Boolean(text)));
}

let scanning = null;

/** Looks for the admin's picture; the button stops it again. */
async function scanCode(input, form, button) {
  const video = byId('enrol-video');
  const words = button.querySelector('[data-t]');
  const { Scanner } = await import('/static/shared/scanner.js');
  scanning = new Scanner(video);
  complain('');
  video.hidden = false;
  say(words, t('cancel'));
  try {
    const text = await scanning.next((seen) => IN_A_PICTURE.test(seen));
    [, input.value] = IN_A_PICTURE.exec(text);
    form.requestSubmit();
  } catch (problem) {
    if (problem.kind !== 'stopped') complain(t('enrol.camera'));
  } finally {
    scanning.stop();
    scanning = null;
    video.hidden = true;
    say(words, t('enrol.scan'));
  }
}
