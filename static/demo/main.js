// The demo's stage: enrols this browser as a cart, signs a customer and an admin in, and carries the code from the cart's
// frame to the phone's at a click, the way a camera would.

import { call } from '/static/shared/api.js';
import { byId, el, say, whileBusy } from '/static/shared/dom.js';
import { speak, t } from '/static/shared/i18n.js';
import { SignIn } from '/static/shared/sign-in.js';
import { fitFrames } from './frame.js';

const LOOK = 500;
const BASKET = {
  currency: 'EUR', total: 1894,
  items: [{ name: 'Sourdough bread', quantity: 1, amount: 420 }, { name: 'Tomatoes, 500 g', quantity: 2, amount: 598 }, { name: 'Olive oil', quantity: 1, amount: 876 }],
};

let hint = 'ready';

await speak('demo');
nameFrames();
document.addEventListener('languagechange', () => { nameFrames(); reload(); });
fitFrames();
addEventListener('message', ({ origin, source, data }) => {
  if (origin === location.origin && source === byId('handset').contentWindow && data?.kind === 'ready') tellPhone({ kind: 'basket', basket: BASKET });
});

try {
  const { data: demo } = await call('GET', '/demo/config.json');
  byId('cart').append(...demo.carts.map((cart) => el('option', { value: cart.cart_id }, String(cart.label))));
  await Promise.all([stay('cartlink.customer', demo.customer), stay('cartlink.staff', demo.admin)]);
  byId('cart').onchange = () => beCart(byId('cart').value);
  byId('handset').src = '/app/';
  byId('desk').src = '/admin/#/floor';
  await beCart(byId('cart').value);
  setInterval(look, LOOK);
} catch (refused) {
  byId('problem').hidden = false;
  byId('problem').textContent = refused.status === 404 ? t('problem') : refused.text ?? String(refused);
}

/** Signs in unless this browser still is. */
async function stay(key, { email, password }) {
  const signIn = new SignIn(key);
  if (signIn.user?.email === email && (await signIn.call('GET', '/auth/me').then(() => true, () => false))) return;
  await signIn.withPassword(email, password);
}

/** A browser has one cookie per host, so it is one cart at a time. */
async function beCart(id) {
  const { data } = await call('POST', `/demo/enrol/${encodeURIComponent(id)}`);
  localStorage.setItem('cartlink.cart', JSON.stringify({ id: String(data.cart_id ?? id), label: data.label ?? String(id) }));
  byId('kiosk').contentWindow.location.replace('/cart/');
}

function nameFrames() {
  for (const frame of document.querySelectorAll('iframe')) frame.title = t(frame.dataset.tTitle);
  say(byId('hint'), t(`hint.${hint}`));
}

function reload() {
  for (const frame of document.querySelectorAll('iframe')) frame.contentWindow?.location.reload();
}

function tellPhone(message) {
  byId('handset').contentWindow.postMessage(message, location.origin);
}

/** What the cart's frame shows decides what the button may do. */
function look() {
  const view = byId('kiosk').contentDocument?.body?.dataset.view;
  byId('scan').disabled = view !== 'ready';
  hint = { ready: hint === 'none' ? 'none' : 'ready', shopping: 'scanned', checkout: 'busy' }[view] ?? 'ready';
  say(byId('hint'), t(`hint.${hint}`));
}

byId('scan').onclick = (event) => whileBusy(event.currentTarget, async () => {
  const { data } = await call('GET', `/customer-session/qr/${encodeURIComponent(byId('cart').value)}.json`).catch(() => ({ data: null }));
  hint = data ? 'ready' : 'none';
  if (data) tellPhone({ kind: 'scan', text: data.payload ?? data.code });
});
