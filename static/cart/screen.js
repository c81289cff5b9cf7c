// Puts a state on the screen. Called for every change and every second; writes only what differs.

import { since } from '/static/shared/clock.js';
import { byId, drawCheckCode, say } from '/static/shared/dom.js';
import { elapsed } from '/static/shared/format.js';
import { t } from '/static/shared/i18n.js';
import { drawReceipt } from '/static/shared/receipt.js';

const NAME_IS_SHOWN = 60_000;
const sections = document.querySelectorAll('main > [data-view]');
let shown = {};

export function render(state, cart) {
  if (document.body.dataset.view !== state.view) show(state.view);
  const label = state.session?.label ?? cart?.label;
  byId('label').hidden = !label || state.view === 'enrol';
  say(byId('label'), label ? cartName(label) : '');
  if (state.session) drawSession(state, label);
  if (state.view === 'unavailable') drawUnavailable(state.cartStatus);
  if (state.view === 'ended') drawWords('ended', state.ending);
  if (state.view === 'receipt' && (shown.view !== 'receipt' || shown.receipt !== state.receipt)) drawThanks(state.receipt);
  toggle('idle', state.idle);
  announce(state);
  shown = state;
}

/** After a change of language everything is written anew. */
export const redraw = () => { shown = {}; };

/** A label that is a bare number wants its noun; "Cart 12" does not. */
export const cartName = (label) => (/^\d+$/.test(label) ? t('label', { label }) : label);

function show(view) {
  for (const section of sections) section.hidden = section.dataset.view !== view;
  document.body.dataset.view = view;
  if (view !== 'shopping') for (const id of ['help-dialog', 'release-dialog']) byId(id).close();
}

function drawSession({ session }, label) {
  const age = since(session.startedAt);
  const fresh = age < NAME_IS_SHOWN;
  say(byId('hello'), fresh ? hello(session.name) : t('shopping.on'));
  say(byId('hello-text'), t(fresh ? 'shopping.text' : 'shopping.on-text'));
  say(byId('elapsed'), elapsed(age));
  say(byId('compare-label'), label ? cartName(label) : '');
  byId('not-you').hidden = !fresh;
  if (!fresh) byId('release-dialog').close();
  if (shown.session?.checkCode !== session.checkCode) drawCheckCode(byId('check-code'), session.checkCode);
  byId('check-code').parentElement.hidden = !session.checkCode;
  say(byId('help-staff'), t('help.staff', { label: label ? cartName(label) : '' }));
}

/** Where the till prints the receipt, the thanks stand alone. */
function drawThanks(receipt) {
  byId('receipt').hidden = !receipt;
  if (receipt) drawReceipt(byId('receipt'), receipt);
}

const hello = (name) => (name ? t('shopping.hello', { name }) : t('shopping.hello-nobody'));

function drawUnavailable(status) {
  const kind = { 'in use': 'in-use', maintenance: 'maintenance', 'battery low': 'battery-low' }[status] ?? 'other';
  const picture = { 'in-use': 'person', maintenance: 'wrench', 'battery-low': 'battery' }[kind] ?? 'close';
  byId('unavailable-icon').setAttribute('href', `/static/shared/icons.svg#${picture}`);
  drawWords('unavailable', kind);
}

function drawWords(view, kind) {
  say(byId(`${view}-title`), t(`${view}.${kind}.title`));
  say(byId(`${view}-text`), t(`${view}.${kind}.text`));
}

function toggle(id, wanted) {
  const dialog = byId(id);
  if (wanted && !dialog.open) dialog.showModal();
  if (!wanted && dialog.open) dialog.close();
}

/** One sentence for screen readers per change of view; ticking numbers are not news. */
function announce(state) {
  const news = {
    shopping: () => [byId('hello').textContent, state.session?.checkCode && `${t('shopping.compare')}: ${state.session.checkCode}`].filter(Boolean).join('. '),
    checkout: () => t('checkout.title'), receipt: () => t('receipt.thanks'), ready: () => t('ready.title'),
    ended: () => byId('ended-title').textContent, unavailable: () => byId('unavailable-title').textContent,
  }[state.view];
  if (news && shown.view !== state.view) say(byId('news'), news());
}
