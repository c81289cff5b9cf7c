// The QR code on the screen: fetched before the old one dies, drawn in whole pixels, and gone before it is dead.

import { call } from '/static/shared/api.js';
import { stopwatch } from '/static/shared/clock.js';

const MARGIN = 4_000; // a phone needs a moment between seeing the code and sending it
const TICK = 1_000;
const LARGEST_QR = 177 + 8;

export class Code {
  #cart; #box; #tell;
  #timer = null;
  #drawn = null;
  #again = null;
  #busy = false;
  #wanted = 0;

  /** `tell.tick(secondsToFresh, share)`, `tell.shown()`, `tell.hidden()`, `tell.refused(refusal)`. */
  constructor(cart, box, tell) {
    this.#cart = cart;
    this.#box = box;
    this.#tell = tell;
    new ResizeObserver(() => this.#fit()).observe(box.parentElement);
  }

  start() {
    if (this.#timer !== null) return;
    this.#wanted += 1;
    this.#timer = setInterval(() => this.#tick(), TICK);
    document.addEventListener('visibilitychange', this.#tick);
    this.renew();
  }

  stop() {
    this.#wanted += 1;
    clearInterval(this.#timer);
    document.removeEventListener('visibilitychange', this.#tick);
    this.#timer = null;
    this.#again = null;
    this.hide();
  }

  /** Takes the code off the screen; asking goes on. */
  hide() {
    if (this.#drawn === null) return;
    this.#drawn = null;
    this.#box.replaceChildren();
    this.#tell.hidden();
  }

  /** Its words anew, in another language. */
  redraw() {
    if (this.#drawn) this.#tick();
    else if (this.#timer !== null) this.#tell.hidden();
  }

  async renew() {
    if (this.#busy || this.#timer === null) return;
    this.#busy = true;
    const turn = this.#wanted;
    try {
      const asked = stopwatch();
      const { data, headers } = await call('GET', `/customer-session/qr/${encodeURIComponent(this.#cart)}.svg?size=${this.#room()}`, { accept: 'image/svg+xml' });
      if (turn === this.#wanted) this.#draw(data, headers, asked);
    } catch (refused) {
      if (turn === this.#wanted) this.#postpone(refused);
    } finally {
      this.#busy = false;
      if (turn !== this.#wanted) this.renew();
    }
  }

  #draw(picture, headers, asked) {
    const drawing = document.importNode(new DOMParser().parseFromString(picture, 'image/svg+xml').documentElement, true);
    drawing.setAttribute('aria-hidden', 'true');
    this.#box.replaceChildren(drawing);
    this.#drawn = { age: asked, lives: seconds(headers, 'X-Code-Expires-In', 60), fresh: seconds(headers, 'X-Code-Refresh-In', 40) };
    this.#again = null;
    this.#fit();
    this.#tell.shown();
    this.#tick();
  }

  #postpone(refused) {
    const wait = refused.retryAfter ? refused.retryAfter * 1000 : refused.status === 409 ? 10_000 : 2_000 + Math.random() * 2_000;
    this.#again = { age: stopwatch(), wait };
    this.#tell.refused(refused);
  }

  #tick = () => {
    if (this.#drawn) {
      const age = this.#drawn.age();
      if (age >= this.#drawn.lives - MARGIN) this.hide();
      else this.#tell.tick(Math.max(0, Math.ceil((this.#drawn.fresh - age) / 1000)), Math.max(0, 1 - age / this.#drawn.fresh));
    }
    const due = this.#again ? this.#again.age() >= this.#again.wait : !this.#drawn || this.#drawn.age() >= this.#drawn.fresh;
    if (due) this.renew();
  };

  /** Device pixels there are for the picture's side. */
  #room() {
    const { width, height } = this.#box.parentElement.getBoundingClientRect();
    return Math.max(120, Math.floor(Math.min(width, height) * devicePixelRatio));
  }

  /** A module is a whole number of device pixels, or its edges blur and cameras have to guess. */
  #fit() {
    const drawing = this.#box.firstElementChild;
    if (!drawing) return;
    const units = drawing.viewBox.baseVal.width;
    const side = units <= LARGEST_QR ? units * Math.max(1, Math.floor(this.#room() / units)) : units;
    drawing.setAttribute('width', side / devicePixelRatio);
    drawing.setAttribute('height', side / devicePixelRatio);
  }
}

const seconds = (headers, name, usual) => (Number(headers.get(name)) || usual) * 1000;
