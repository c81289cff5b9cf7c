// What was: the history by cursor, and a receipt looked at again.

import { el } from '/static/shared/dom.js';
import { when } from '/static/shared/format.js';
import { t } from '/static/shared/i18n.js';
import { cartName } from './names.js';

/** A page of one's own finished sessions. */
export async function page(signIn, { limit, cursor }) {
  const query = new URLSearchParams({ limit, ...(cursor ? { cursor } : {}) });
  const { data } = await signIn.call('GET', `/customer-session?${query}`);
  return { items: data.items.filter((session) => !session.is_active), cursor: data.cursor };
}

/** One line of the list; a tap opens it. */
export function line(session, onOpen) {
  const how = session.reason ? t(`reason.${session.reason}`) : t(`status.${session.status}`);
  return el('li', {}, el('button', { type: 'button', onclick: () => onOpen(session) },
    el('b', {}, cartName(session)),
    el('span', { class: `chip ${session.status === 'completed' ? 'good' : ''}` }, t(`status.${session.status}`)),
    el('span', { class: 'small quiet-text' }, session.status === 'completed' ? when(session.created_at) : `${when(session.created_at)} · ${how}`)));
}
