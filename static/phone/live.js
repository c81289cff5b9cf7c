// A session on the phone, from the scan to the receipt, kept true by its own stream.

import { once } from '/static/shared/api.js';
import { since } from '/static/shared/clock.js';
import { byId, drawCheckCode, say, whileBusy } from '/static/shared/dom.js';
import { elapsed } from '/static/shared/format.js';
import { t } from '/static/shared/i18n.js';
import { Stream } from '/static/shared/stream.js';
import { cartName } from './names.js';
import { Poll } from './poll.js';
import { complain, show } from './views.js';

const UNDO_FOR = 30_000;
const FINAL = new Set(['completed', 'expired', 'failed']);
const READ_AGAIN = 2_000;
const LOOK_WHERE_IT_IS = 1_000;

/** What the customer is about, in one word. */
function phaseOf({ status, phase, transfer_to: onTheWay }) {
  if (onTheWay && phase !== 'checkout') return 'moving';
  return status === 'active' ? 'pairing' : phase ?? 'shopping';
}

export class Live {
  #signIn; #onOver; #onMove; #onLink;
  #session = null;
  #stream = null;
  #timer = null;
  #moving = false;
  basket = null;

  /** `onOver(session)` when it is final, `onMove()` to scan another cart, `onLink(state)` for the banner. */
  constructor(signIn, { onOver, onMove, onLink }) {
    this.#signIn = signIn;
    this.#onOver = onOver;
    this.#onMove = onMove;
    this.#onLink = onLink;
    this.#wire();
  }

  get session() { return this.#session; }

  /** Shows a session and follows it. */
  open(session) {
    this.close();
    this.#session = session;
    if (FINAL.has(session.status)) return this.#finish();
    complain('live-problem', '');
    if (session.check_code === undefined) this.#fetch();
    show('live', { draw: () => this.draw() });
    this.#timer = setInterval(() => this.draw(), 1_000);
    this.#stream = new Stream({
      open: () => ({ url: `/session/${session.session_id}/events`, headers: { Authorization: `Bearer ${this.#signIn.bearer}` } }),
      onFrame: (frame) => frame.status && this.#take(frame),
      onState: (state) => (state === 'done' ? this.#finish() : this.#onLink(state)),
      onRefused: (status) => this.#refused(status),
    });
    this.#stream.start();
    this.#awaitMove();
  }

  close() {
    clearInterval(this.#timer);
    this.#stream?.stop();
    this.#stream = null;
    this.#session = null;
    byId('end-dialog').close();
  }

  draw() {
    const session = this.#session;
    if (!session) return;
    const label = cartName(session);
    const phase = phaseOf(session);
    const age = since(session.created_at);
    say(byId('live-title'), t({ pairing: 'live.connecting', checkout: 'live.paying', moving: 'live.moving' }[phase] ?? 'live.shopping', { label }));
    say(byId('live-state'), t(`phase.${phase}`));
    byId('live-state').className = `chip ${{ pairing: 'info', idle_warning: 'warn', checkout: 'info', moving: 'info' }[phase] ?? 'good'}`;
    say(byId('live-time'), elapsed(age));
    this.#drawCheck(session, age);
    byId('live-idle').hidden = byId('still-here').hidden = phase !== 'idle_warning';
    byId('checkout').hidden = phase === 'idle_warning' || phase === 'checkout';
    byId('live-paying').hidden = phase !== 'checkout';
    byId('checkout').disabled = phase !== 'shopping';
    byId('live-moving').hidden = phase !== 'moving';
    byId('move').disabled = phase === 'checkout' || phase === 'moving';
    byId('end').disabled = phase === 'checkout';
    say(byId('end'), t(age < UNDO_FOR ? 'live.undo' : 'live.end'));
  }

  #drawCheck(session, age) {
    const place = byId('check-code');
    if (place.dataset.code !== String(session.check_code)) {
      place.dataset.code = session.check_code;
      drawCheckCode(place, session.check_code);
    }
    byId('compare').hidden = !session.check_code;
    byId('compare').toggleAttribute('data-quiet', age >= UNDO_FOR);
    say(byId('compare-text'), t(age < UNDO_FOR ? 'live.compare-text' : 'live.compare-done'));
  }

  #take(frame) {
    if (!this.#session) return;
    const moved = Boolean(this.#session.transfer_to) || (frame.cart_id !== undefined && String(frame.cart_id) !== String(this.#session.cart_id));
    if (this.#session.phase === 'checkout' && frame.phase === 'shopping') complain('live-problem', t('live.unpaid'));
    Object.assign(this.#session, { status: frame.status, phase: frame.phase ?? this.#session.phase, reason: frame.reason });
    if (moved) this.#fetch();
    if (FINAL.has(frame.status)) this.#finish();
    else this.draw();
  }

  async #fetch() {
    const { session_id: id } = this.#session;
    const { data } = await this.#signIn.call('GET', `/customer-session/${id}`).catch(() => ({ data: null }));
    if (data && this.#session?.session_id === id) Object.assign(this.#session, { transfer_to: null }, data);
    this.draw();
  }

  /** On the way to another cart. The old one's stream tells of an arrival, but not of a new cart that never answers. */
  async #awaitMove() {
    if (this.#moving || !this.#session.transfer_to) return;
    this.#moving = true;
    const { session_id: id, cart_id: from } = this.#session;
    complain('live-problem', '');
    while (this.#session?.session_id === id && this.#session.transfer_to) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_WHERE_IT_IS));
      if (this.#session?.session_id === id) await this.#fetch();
    }
    this.#moving = false;
    const stayed = this.#session?.session_id === id && String(this.#session.cart_id) === String(from);
    if (stayed) complain('live-problem', t('live.stayed', { label: cartName(this.#session) }));
  }

  /** Reads the final state, with its receipt, as often as it takes. */
  async #finish() {
    const session = this.#session;
    if (!session) return;
    this.close();
    for (;;) {
      try {
        return this.#onOver({ ...session, ...(await this.#signIn.call('GET', `/customer-session/${session.session_id}`)).data });
      } catch (refused) {
        if (!refused.passing) return this.#onOver(session);
        await new Promise((resolve) => setTimeout(resolve, READ_AGAIN));
      }
    }
  }

  async #refused(status) {
    if (status !== 401) return this.#poll();
    return await this.#signIn.renew(this.#signIn.bearer).then(() => true, (refused) => refused.passing);
  }

  /** The stream does not pass; the session may well be there all the same. */
  #poll() {
    this.#stream.stop();
    this.#stream = new Poll(this.#signIn, this.#session.session_id, { onState: (session) => this.#take(session), onGone: () => this.#finish(), onLink: this.#onLink });
    this.#stream.start();
  }

  #wire() {
    byId('checkout').onclick = (event) => this.#do(event, 'checkout', { json: this.basket ?? {} });
    byId('still-here').onclick = (event) => this.#do(event, 'activity');
    byId('end-go').onclick = (event) => this.#do(event, 'end');
    byId('end').onclick = (event) => (since(this.#session.created_at) < UNDO_FOR ? this.#do(event, 'end') : byId('end-dialog').showModal());
    byId('move').onclick = () => this.#onMove();
  }

  /** A step of the session: what it says is shown at once, the stream says it again. */
  #do(event, act, options = {}) {
    const { session_id: id } = this.#session;
    return whileBusy(event.currentTarget, async () => {
      complain('live-problem', '');
      try {
        const { data } = await this.#signIn.call('POST', `/customer-session/${id}/${act}`, { ...options, headers: { 'Idempotency-Key': once() } });
        if (this.#session?.session_id === id) this.#take(data?.status ? data : { status: this.#session.status });
      } catch (refused) {
        byId('end-dialog').close();
        if (refused.code === 'session-ended') this.#finish();
        else complain('live-problem', refused.text);
      }
    });
  }
}
