// What staff do with a cart: look at it, end its session, maintenance, enrol, revoke, make a new one. Each asks first.

import { since } from '/static/shared/clock.js';
import { el } from '/static/shared/dom.js';
import { elapsed, number } from '/static/shared/format.js';
import { t } from '/static/shared/i18n.js';
import { ask, close, closer, open } from './dialogs.js';
import { may } from './role.js';
import { stateOf } from './tile.js';

export class CartActions {
  #signIn; #changed;

  /** `changed()` is called after each action that worked. */
  constructor(signIn, changed) {
    this.#signIn = signIn;
    this.#changed = changed;
  }

  /** A cart looked at from the floor. */
  show(cart) {
    const { session } = cart;
    const facts = [
      [t('carts.status'), t(`state.${stateOf(cart)}`)], [t('cart.link'), t(`link.${cart.link}`)],
      [t('carts.battery'), cart.battery === null || cart.battery === undefined ? '–' : `${number(cart.battery)} %${cart.charging ? ` · ${t('cart.charging')}` : ''}`],
      session && [t('cart.customer'), session.initial ?? '–'], session && [t('cart.since'), elapsed(since(session.created_at))],
    ].filter(Boolean);
    open(String(cart.label ?? cart.cart_id),
      el('dl', { class: 'facts' }, facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value)))),
      el('div', { class: 'row' },
        session ? el('a', { class: 'button', href: `#/sessions/${session.session_id}`, onclick: close }, t('cart.session')) : null,
        session && may('operator') ? this.#button('cart.end', () => this.end(session.session_id, cart.label), 'stop') : null,
        may('operator') ? this.#service(cart) : null,
        may('manager') ? this.#button('cart.enrol', () => this.enrol(cart)) : null),
      closer());
  }

  /** The buttons of a cart's row in the table. */
  buttons(cart) {
    return [
      may('operator') ? this.#service(cart, 'small') : null,
      may('manager') ? this.#button('cart.enrol', () => this.enrol(cart), 'small') : null,
      may('manager') ? this.#button('cart.revoke', () => this.revoke(cart), 'small') : null,
    ];
  }

  end(id, label) {
    ask({
      title: t('cart.end'), text: t('cart.end-text', { label: label ?? '' }), go: t('cart.end-go'), danger: true,
      fields: [{ name: 'reason', label: t('cart.end-reason'), required: true, hint: t('cart.end-hint') }],
      act: ({ reason }) => this.#do('POST', `/admin/sessions/${id}/end`, { reason }),
    });
  }

  maintain(cart, on) {
    ask({
      title: t(on ? 'cart.maintenance' : 'cart.in-service'), text: t(on ? 'cart.maintenance-text' : 'cart.in-service-text', { label: cart.label }), go: t(on ? 'cart.maintenance' : 'cart.in-service'),
      act: () => this.#do('PATCH', `/carts/${encodeURIComponent(cart.cart_id)}`, { lifecycle: on ? 'maintenance' : 'in_service' }),
    });
  }

  enrol(cart) {
    ask({
      title: t('cart.enrol'), text: t('cart.enrol-text', { label: cart.label }), go: t('cart.enrol-go'),
      act: async () => enrolment((await this.#signIn.call('POST', `/carts/${encodeURIComponent(cart.cart_id)}/enrolment`)).data),
    });
  }

  revoke(cart) {
    ask({
      title: t('cart.revoke'), text: t('cart.revoke-text', { label: cart.label }), go: t('cart.revoke'), danger: true,
      act: () => this.#do('POST', `/carts/${encodeURIComponent(cart.cart_id)}/revoke`),
    });
  }

  create() {
    ask({
      title: t('carts.new'), go: t('carts.create'),
      fields: [{ name: 'cart_id', label: t('carts.id'), required: true, hint: t('carts.id-hint'), dir: 'ltr' }, { name: 'label', label: t('carts.label'), required: true }],
      act: ({ cart_id: id, label }) => this.#do('POST', '/carts/', { cart_id: id, label }),
    });
  }

  /** Out of service, or back. */
  #service(cart, kind = '') {
    const on = cart.lifecycle !== 'maintenance';
    return this.#button(on ? 'cart.maintenance' : 'cart.in-service', () => this.maintain(cart, on), kind);
  }

  #button(key, onclick, kind = '') {
    return el('button', { class: `button ${kind}`, type: 'button', onclick }, t(key));
  }

  async #do(method, path, json) {
    await this.#signIn.call(method, path, { json });
    this.#changed();
  }
}

/** The one-time code, to type and to scan. */
function enrolment({ code, svg, expires_in: seconds }) {
  const picture = svg ? document.importNode(new DOMParser().parseFromString(svg, 'image/svg+xml').documentElement, true) : null;
  return el('div', { class: 'enrolment' },
    picture ? el('div', { class: 'paper', role: 'img', 'aria-label': t('cart.enrol-picture') }, picture) : null,
    el('p', { class: 'mono', dir: 'ltr' }, code),
    el('p', { class: 'quiet-text' }, t('cart.enrol-how', { minutes: number(Math.round((seconds ?? 600) / 60)) })));
}
