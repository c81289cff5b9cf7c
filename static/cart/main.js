// The cart's screen: enrol once, then follow the cart's stream for days.

import { call } from '/static/shared/api.js';
import { byId, say, whileBusy } from '/static/shared/dom.js';
import { number } from '/static/shared/format.js';
import { speak, t } from '/static/shared/i18n.js';
import { Stream } from '/static/shared/stream.js';
import { Code } from './code.js';
import { codeInAddress, complain, enrol, enrolledCart, forget, offerEnrolment } from './enrol.js';
import { beat } from './heartbeat.js';
import { behaveAsKiosk } from './kiosk.js';
import { redraw, render } from './screen.js';
import { acknowledge, release, tellActivity } from './session.js';
import { free, next, saysGoodbye, START } from './state.js';

const GOODBYE = { receipt: 15_000, ended: 8_000 };
const LOST_FOR_GOOD = 3_000; // a blip is nobody's business

let state = START;
let cart = null;
let code = null;
let lost = null;
let goodbye = null;

await speak('cart');
behaveAsKiosk();
offerEnrolment(follow);
setInterval(() => render(state, cart), 1_000);
document.addEventListener('languagechange', () => { redraw(); code?.redraw(); render(state, cart); });
const brought = codeInAddress();
if (brought) { change({ ...START, view: 'enrol' }); await enrol(brought, follow); } else if (enrolledCart()) follow(); else change({ ...START, view: 'enrol' });

function follow() {
  cart = enrolledCart();
  code = new Code(cart.id, byId('code'), {
    shown: () => { say(byId('code-wait'), ''); if (state.view === 'unavailable') change(free(state, 'available')); },
    hidden: () => { say(byId('code-wait'), t(lost ? 'ready.lost' : 'ready.wait')); drawFreshness(0, ''); },
    tick: (seconds, share) => drawFreshness(share, seconds > 0 ? t('ready.fresh', { seconds: number(seconds) }) : t('ready.wait')),
    refused: whenCodeIsRefused,
  });
  const stopBeating = beat(cart.id, () => state.session?.id ?? null);
  const stream = new Stream({
    open: () => ({ url: `/sse/${encodeURIComponent(cart.id)}?ack=1` }),
    onFrame: take,
    onState: showLink,
    onRefused: () => {
      stopBeating();
      forget();
      change({ ...START, view: 'enrol' });
      complain(t('enrol.again'));
      return false;
    },
  });
  stream.start();
}

function take(frame) {
  if (frame.type === 'qr') code.renew();
  else change(next(state, frame));
}

function change(after) {
  const before = state;
  state = after;
  if (state.view !== before.view) enter(state.view);
  if (state.session && state.session.id !== before.session?.id && state.session.status !== 'fetched') {
    const { id } = state.session;
    acknowledge(id, () => state.session?.id === id && state.session.status !== 'fetched');
  }
  render(state, cart);
}

function enter(view) {
  clearTimeout(goodbye);
  if (view in GOODBYE) goodbye = setTimeout(() => change(free(state)), GOODBYE[view]);
  if (!code) return;
  if (view === 'ready' || view === 'unavailable') say(byId('code-wait'), t('ready.wait'));
  // A cart that is not free is asked again and again: the answer is the code the moment it is.
  if ((view === 'ready' || view === 'unavailable') && !linkIsLost()) code.start();
  else code.stop();
}

async function whenCodeIsRefused(refused) {
  if (refused.status !== 409) return;
  code.hide();
  const { data } = await call('GET', `/customer-session/cart-status/${encodeURIComponent(cart.id)}`).catch(() => ({ data: {} }));
  if (!state.session && !saysGoodbye(state) && data.status && data.status !== 'available') change(free(state, data.status));
}

function linkIsLost() {
  return !byId('lost').hidden;
}

function showLink(link) {
  if (link === 'open' || link === 'done') {
    clearTimeout(lost);
    lost = null;
    if (!linkIsLost()) return;
    byId('lost').hidden = true;
    if (state.view === 'ready' || state.view === 'unavailable') code.start();
  } else if (lost === null) {
    lost = setTimeout(() => { byId('lost').hidden = false; code.stop(); }, LOST_FOR_GOOD);
  }
}

function drawFreshness(share, text) {
  byId('fresh').style.transform = `scaleX(${share})`;
  say(byId('fresh-text'), text);
}

byId('help').onclick = () => byId('help-dialog').showModal();
byId('not-you').onclick = () => { byId('release-problem').hidden = true; byId('release-dialog').showModal(); };
byId('release').onclick = (event) => whileBusy(event.currentTarget, async () => {
  try {
    await release(state.session.id);
    byId('release-dialog').close();
  } catch (refused) {
    byId('release-problem').hidden = false;
    say(byId('release-problem'), refused.text);
  }
});

async function touched() {
  const { session, idle } = state;
  if (session && (await tellActivity(session.id, idle)) && state.session?.id === session.id) change({ ...state, idle: false });
}
addEventListener('pointerdown', touched);
addEventListener('keydown', touched);
byId('still-here').onclick = touched; // also where a screen reader clicks without a pointer
byId('idle').addEventListener('cancel', touched);
