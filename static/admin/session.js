// One session: its facts and its timeline, straight from the event log.

import { byId, el } from '/static/shared/dom.js';
import { duration, when } from '/static/shared/format.js';
import { language, knows, t } from '/static/shared/i18n.js';
import { may } from './role.js';
import { toneOf } from './sessions.js';

const TONE = { 'session-ended': 'stop', 'session-expired': 'stop', 'checkout-failed': 'stop', 'session-idle-warning': 'warn', 'cart-offline': 'warn' };

export async function drawSession(signIn, actions, id) {
  if (byId('timeline').dataset.session !== id) clear(id);
  byId('session-title').textContent = t('session.title', { id });
  try {
    const { data: session } = await signIn.call('GET', `/admin/sessions/${encodeURIComponent(id)}`);
    if (byId('timeline').dataset.session !== id) return;
    drawFacts(session);
    drawTimeline(session.timeline);
    byId('session-end').hidden = !session.is_active || !may('operator');
    byId('session-end').onclick = () => actions.end(session.session_id, session.cart_label);
  } catch (refused) {
    byId('session-facts').replaceChildren(el('p', { class: 'note stop', role: 'alert' }, refused.text));
  }
}

function clear(id) {
  byId('timeline').dataset.session = id;
  byId('timeline').replaceChildren();
  byId('session-facts').replaceChildren();
  byId('session-end').hidden = true;
}

function drawFacts(session) {
  const lasted = session.ended_at ? duration(Date.parse(session.ended_at) - Date.parse(session.created_at)) : null;
  const facts = [
    [t('sessions.status'), el('span', { class: `chip ${toneOf(session.status)}` }, t(`status.${session.status}`))],
    session.reason && [t('sessions.reason'), t(`reason.${session.reason}`)],
    session.phase && [t('session.phase'), t(`phase.${session.phase}`)],
    [t('sessions.cart'), String(session.cart_label ?? session.cart_id)],
    [t('sessions.started'), when(session.created_at)],
    lasted && [t('sessions.lasted'), lasted],
    session.check_code && [t('session.check'), String(session.check_code)],
  ].filter(Boolean);
  byId('session-facts').replaceChildren(...facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))));
}

function drawTimeline(steps) {
  const clock = new Intl.DateTimeFormat(language(), { timeStyle: 'medium' });
  const several = new Set(steps.map(({ cart_id: cart }) => String(cart ?? '')).filter(Boolean)).size > 1;
  byId('timeline').replaceChildren(...steps.map((step) => {
    const { event_type: kind, at } = step;
    const words = knows(`step.${kind}`) ? t(`step.${kind}`) : kind; // a store's own event is called what the store calls it
    const reason = step.reason && knows(`reason.${step.reason}`) ? t(`reason.${step.reason}`) : step.reason;
    const more = [several && step.cart_id ? t('session.on', { cart: step.cart_id }) : null, reason].filter(Boolean).join(' · ');
    return el('li', { 'data-tone': TONE[kind] }, el('time', { datetime: at }, clock.format(new Date(at))), el('i', { 'aria-hidden': 'true' }),
      el('span', {}, words, more ? el('span', { class: 'quiet-text' }, ` · ${more}`) : null));
  }));
}
