// The live floor: one stream, a snapshot first, then each change. Changes are gathered and drawn once per frame of the screen,
// so that a hundred a second on two thousand carts cost no more than the eye can see; so many at once that a frame would
// stutter are drawn in several.

import { since } from '/static/shared/clock.js';
import { byId, el, icon, say } from '/static/shared/dom.js';
import { duration, number, percent } from '/static/shared/format.js';
import { knows, t } from '/static/shared/i18n.js';
import { Stream } from '/static/shared/stream.js';
import { Tile } from './tile.js';

const FILTERS = ['all', 'in_use', 'free', 'away'];
const LOST_FOR_GOOD = 3_000;
const A_FRAMES_WORK = 100; // tiles drawn, before the page may answer somebody's hand

export class Floor {
  #tiles = new Map();
  #changed = new Map();
  #counters = null;
  #attention = null;
  #kept = 0;
  #frame = null;
  #filter = 'all';
  #words = '';
  #onScreen = new Set();
  #see = new IntersectionObserver((entries) => entries.forEach((entry) => this.#seen(entry)), { rootMargin: '200px' });
  #byNode = new WeakMap();
  #lost = null;

  /** `openCart(cart)` is called for a tile or an item that is chosen, `changed(before, after)` for each change of a cart. */
  constructor(signIn, openCart, changed) {
    this.openCart = openCart;
    this.changed = changed;
    this.#offerFilters();
    this.stream = new Stream({
      open: () => ({ url: '/admin/events', headers: { Authorization: `Bearer ${signIn.bearer}` } }),
      onFrame: (frame) => this.#take(frame),
      onState: (state) => this.#showLink(state),
      onRefused: (status) => (status === 401 ? signIn.renew(signIn.bearer).then(() => true, (refused) => refused.passing) : false),
    });
    this.stream.start();
    this.timer = setInterval(() => this.#onScreen.forEach((tile) => tile.tick()), 1_000);
  }

  stop() {
    this.stream.stop();
    clearInterval(this.timer);
    clearTimeout(this.#lost);
    byId('lost').hidden = true;
    cancelAnimationFrame(this.#frame);
    this.#see.disconnect();
    byId('tiles').replaceChildren();
  }

  /** The cart as it stands now, for whoever holds an older copy. */
  cart(id) {
    return this.#changed.get(String(id)) ?? this.#tiles.get(String(id))?.cart;
  }

  redraw() {
    this.#offerFilters();
    for (const tile of this.#tiles.values()) tile.set(tile.cart);
    this.#drawAttention();
    this.#drawCounters();
    this.#sift();
  }

  #take(frame) {
    if (frame.type === 'floor') this.#snapshot(frame);
    else if (frame.type === 'cart') this.#changed.set(String(frame.cart_id), frame);
    else if (frame.type === 'counters') this.#counters = frame.counters;
    else if (frame.type === 'attention') this.#attention = frame.attention;
    this.#drawSoon();
  }

  #drawSoon() {
    this.#frame ??= requestAnimationFrame(() => this.#draw());
  }

  #snapshot({ carts, counters, attention }) {
    const present = new Set(carts.map((cart) => String(cart.cart_id)));
    for (const id of this.#tiles.keys()) if (!present.has(id)) this.#remove(id);
    this.#changed.clear();
    for (const cart of carts) this.#changed.set(String(cart.cart_id), cart);
    this.#counters = counters;
    this.#attention = attention;
  }

  #draw() {
    this.#frame = null;
    const fresh = [];
    let left = A_FRAMES_WORK;
    for (const [id, cart] of this.#changed) {
      if (left === 0) break;
      left -= 1;
      this.#changed.delete(id);
      let tile = this.#tiles.get(id);
      if (!tile) {
        tile = new Tile((chosen) => this.openCart(chosen));
        this.#tiles.set(id, tile);
        this.#byNode.set(tile.node, tile);
        this.#kept += 1;
        this.#see.observe(tile.node);
        fresh.push(tile.node);
      }
      const before = tile.cart;
      tile.set(cart);
      this.#siftOne(tile);
      if (before) this.changed(before, cart);
    }
    if (this.#changed.size) this.#drawSoon();
    if (fresh.length) byId('tiles').append(...fresh);
    this.#count();
    this.#drawCounters();
    this.#drawAttention();
  }

  #remove(id) {
    const tile = this.#tiles.get(id);
    this.#see.unobserve(tile.node);
    this.#onScreen.delete(tile);
    if (!tile.node.hidden) this.#kept -= 1;
    tile.node.remove();
    this.#tiles.delete(id);
  }

  #seen({ target, isIntersecting }) {
    const tile = this.#byNode.get(target);
    if (isIntersecting) this.#onScreen.add(tile);
    else this.#onScreen.delete(tile);
  }

  #drawCounters() {
    const shown = Object.entries(this.#counters ?? {}).filter(([name, value]) => typeof value === 'number' && knows(`counter.${name}`));
    const place = byId('counters');
    if (place.childElementCount !== shown.length || place.lang !== document.documentElement.lang) {
      place.lang = document.documentElement.lang;
      place.replaceChildren(...shown.map(([name]) => el('div', {}, el('dt', {}, t(`counter.${name}`)), el('dd', {}))));
    }
    shown.forEach(([, value], at) => say(place.children[at].lastElementChild, number(value)));
  }

  #drawAttention() {
    if (this.#attention === null) return;
    const list = this.#attention;
    byId('attention').hidden = list.length === 0;
    say(byId('attention-title'), t('attention.title', { count: list.length, number: number(list.length) }));
    const drawn = JSON.stringify([list, document.documentElement.lang]);
    if (byId('attention-list').dataset.drawn === drawn) return;
    byId('attention-list').dataset.drawn = drawn;
    byId('attention-list').replaceChildren(...list.map((item) => this.#attentionLine(item)));
  }

  #attentionLine(item) {
    const { label, value } = item;
    const kind = knows(`attention.${item.kind}`) ? t(`attention.${item.kind}`) : item.kind;
    const measure = { low_battery: () => percent(value / 100), repeated_releases: () => t('attention.times', { count: value, number: number(value) }) }[item.kind];
    return el('li', {},
      el('span', { class: 'chip warn' }, icon('alert'), kind), el('b', {}, label),
      el('span', { class: 'small quiet-text grow' }, [item.since && t('attention.since', { time: duration(since(item.since)) }), measure?.()].filter(Boolean).join(' · ')),
      el('button', { class: 'button small', type: 'button', onclick: () => this.#look(item.cart_id) }, t('attention.look'), el('span', { class: 'unseen' }, ` ${label}`)));
  }

  #look(id) {
    const cart = this.cart(id);
    if (cart) this.openCart(cart);
  }

  #offerFilters() {
    byId('floor-filter').replaceChildren(...FILTERS.map((name) => el('button', {
      type: 'button', 'aria-pressed': String(name === this.#filter),
      onclick: () => { this.#filter = name; this.#offerFilters(); this.#sift(); byId('floor-filter').children[FILTERS.indexOf(name)].focus(); },
    }, t(`floor.${name}`))));
    byId('floor-find').oninput = (event) => { this.#words = event.target.value.trim().toLowerCase(); this.#sift(); };
  }

  #sift() {
    for (const tile of this.#tiles.values()) this.#siftOne(tile);
    this.#count();
  }

  #siftOne(tile) {
    const hidden = !tile.matches(this.#filter, this.#words);
    if (tile.node.hidden === hidden) return;
    tile.node.hidden = hidden;
    this.#kept += hidden ? -1 : 1;
  }

  #count() {
    if (this.#filter === 'all' && this.#words === '') return say(byId('floor-count'), '');
    return say(byId('floor-count'), t('floor.count', { kept: number(this.#kept), all: number(this.#tiles.size) }));
  }

  #showLink(state) {
    if (state === 'open') {
      clearTimeout(this.#lost);
      this.#lost = null;
      byId('lost').hidden = true;
    } else {
      this.#lost ??= setTimeout(() => { byId('lost').hidden = false; }, LOST_FOR_GOOD);
    }
  }
}
