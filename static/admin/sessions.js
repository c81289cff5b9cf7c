// The list of sessions: searched, filtered, page by page, and as CSV.

import { byId, el, whileBusy } from '/static/shared/dom.js';
import { duration, when } from '/static/shared/format.js';
import { t } from '/static/shared/i18n.js';

const STATUSES = ['active', 'fetched', 'completed', 'expired', 'failed'];
const REASONS = ['pickup_timeout', 'idle_timeout', 'max_duration', 'cancelled_by_customer', 'released_at_cart', 'force_ended', 'cart_lost', 'checkout_error', 'account_closed'];
const TYPING = 250;

export const toneOf = (status) => ({ completed: 'good', active: 'info', fetched: 'good', expired: 'warn', failed: 'stop' }[status] ?? '');

export class Sessions {
  #signIn; #typing = null; #turn = 0;

  constructor(signIn) {
    this.#signIn = signIn;
    const form = byId('session-filter');
    form.onsubmit = (event) => event.preventDefault();
    form.oninput = () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.load(), TYPING);
    };
    byId('csv').onclick = (event) => whileBusy(event.currentTarget, () => this.#download());
  }

  /** The choices in the reader's language, what was chosen kept. */
  offer() {
    choices(byId('f-status'), STATUSES, 'status');
    choices(byId('f-reason'), REASONS, 'reason');
  }

  async load(cursor = null) {
    const turn = ++this.#turn;
    byId('sessions-problem').hidden = true;
    try {
      const { data } = await this.#signIn.call('GET', `/admin/sessions?${this.#query({ limit: 50, cursor })}`);
      if (turn === this.#turn) this.#draw(data, cursor !== null);
    } catch (refused) {
      byId('sessions-problem').hidden = false;
      byId('sessions-problem').textContent = refused.text;
    }
  }

  #draw(data, more) {
    const rows = data.items.map(row);
    if (more) byId('session-rows').append(...rows);
    else byId('session-rows').replaceChildren(...rows);
    byId('sessions-none').hidden = byId('session-rows').childElementCount > 0;
    byId('sessions-more').hidden = !data.has_more;
    byId('sessions-more').onclick = (event) => whileBusy(event.currentTarget, () => this.load(data.cursor));
  }

  #query(extra = {}) {
    const query = new URLSearchParams();
    for (const [name, value] of [...new FormData(byId('session-filter')), ...Object.entries(extra)]) {
      if (value) query.set(name, name === 'from' ? startOfDay(value) : name === 'to' ? startOfDay(value, 1) : value);
    }
    return query;
  }

  async #download() {
    const { data } = await this.#signIn.call('GET', `/admin/sessions?${this.#query()}`, { accept: 'text/csv', timeout: 60_000 });
    const link = el('a', { href: URL.createObjectURL(new Blob([data], { type: 'text/csv' })), download: 'sessions.csv' });
    link.click();
    URL.revokeObjectURL(link.href);
  }
}

function row(session) {
  const lasted = Date.parse(session.ended_at) - Date.parse(session.created_at);
  return el('tr', {},
    el('td', {}, el('a', { href: `#/sessions/${session.session_id}` }, `#${session.session_id}`)),
    el('td', {}, String(session.cart_label ?? session.cart_id)),
    el('td', {}, el('span', { class: `chip ${toneOf(session.status)}` }, t(`status.${session.status}`))),
    el('td', {}, session.reason ? t(`reason.${session.reason}`) : ''),
    el('td', {}, when(session.created_at)),
    el('td', {}, session.ended_at ? duration(lasted) : ''));
}

function choices(select, values, group) {
  const chosen = select.value;
  select.replaceChildren(el('option', { value: '' }, t('sessions.any')), ...values.map((value) => el('option', { value }, t(`${group}.${value}`))));
  select.value = chosen;
}

/** A day as people here count it, as an instant; `days` later where a day is meant to be included. */
function startOfDay(day, days = 0) {
  const date = new Date(`${day}T00:00`);
  date.setDate(date.getDate() + days);
  return date.toISOString();
}
