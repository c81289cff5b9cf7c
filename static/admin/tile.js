// One cart on the floor. A tile is made once and then only changed where it differs.

import { since } from '/static/shared/clock.js';
import { el, say } from '/static/shared/dom.js';
import { elapsed, number } from '/static/shared/format.js';
import { t } from '/static/shared/i18n.js';

const LOW = 15;

/** What a tile says in one word, and by its colour. */
export function stateOf(cart) {
  if (cart.session) return { pairing: 'pairing', checkout: 'checkout', idle_warning: 'idle_warning' }[cart.session.phase] ?? (cart.session.status === 'active' ? 'pairing' : 'in_use');
  return cart.lifecycle === 'in_service' ? 'free' : cart.lifecycle;
}

export class Tile {
  constructor(onOpen) {
    this.name = el('span', { class: 'name' });
    this.link = el('span', { class: 'link' });
    this.who = el('span', { class: 'who' });
    this.time = el('span', { class: 'time' });
    this.power = el('span', { class: 'power' });
    this.node = el('li', { class: 'tile' }, el('button', { type: 'button', onclick: () => onOpen(this.cart) }, this.name, this.link, this.who, this.time, this.power));
  }

  set(cart) {
    this.cart = cart;
    const state = stateOf(cart);
    const word = t(`state.${state}`);
    if (this.node.dataset.state !== state) this.node.dataset.state = state;
    if (this.link.dataset.link !== cart.link) this.link.dataset.link = cart.link;
    say(this.name, String(cart.label ?? cart.cart_id));
    say(this.who, cart.session?.initial ? `${cart.session.initial} · ${word}` : word);
    say(this.power, cart.battery === null || cart.battery === undefined ? '' : `${cart.charging ? '⚡' : ''}${number(cart.battery)} %`);
    this.node.classList.toggle('low', cart.battery !== null && cart.battery < LOW && !cart.charging);
    this.tick();
  }

  tick() {
    say(this.time, this.cart.session ? elapsed(since(this.cart.session.created_at)) : this.cart.link === 'online' ? '' : t(`link.${this.cart.link}`));
  }

  /** Whether the tile passes the filter and the words searched for. */
  matches(filter, words) {
    const state = stateOf(this.cart);
    const kept = { all: true, in_use: Boolean(this.cart.session), free: state === 'free', away: this.cart.link !== 'online' || this.cart.lifecycle !== 'in_service' }[filter];
    return kept && (words === '' || `${this.cart.label} ${this.cart.cart_id} ${this.cart.session?.initial ?? ''}`.toLowerCase().includes(words));
  }
}
