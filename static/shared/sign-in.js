// Who is signed in on this device: keeps the pair of tokens and renews it. Refresh tokens are used up by use, so only one
// renewal may run at a time, in all tabs together; a second use of an old one would end every sign-in of its family.

import { call, Refusal } from './api.js';

export class SignIn extends EventTarget {
  #stored;
  #renewal = null;

  constructor(key) {
    super();
    this.#stored = key;
    addEventListener('storage', (event) => event.key === key && this.dispatchEvent(new Event('change')));
  }

  get #tokens() {
    try { return JSON.parse(localStorage.getItem(this.#stored)); } catch { return null; }
  }

  get user() { return this.#tokens?.user ?? null; }
  get bearer() { return this.#tokens?.access ?? null; }

  async withPassword(email, password) {
    this.#keep((await call('POST', '/auth/login', { form: { username: email, password } })).data);
  }

  async asGuest() {
    this.#keep((await call('POST', '/auth/guest')).data);
  }

  /** A new account; a guest's own bearer turns that guest into it, its session kept. */
  async withNewAccount(account) {
    await call('POST', '/auth/signup', { json: account, bearer: this.bearer ?? undefined });
    await this.withPassword(account.email, account.password);
  }

  /** Signs out here at once, and tells the server as well as it can. */
  async out() {
    const bearer = this.bearer;
    this.forget();
    if (bearer) await call('POST', '/auth/logout', { bearer }).catch(() => {});
  }

  forget() {
    try { localStorage.removeItem(this.#stored); } catch { /* nothing was kept */ }
    this.dispatchEvent(new Event('change'));
  }

  /** A request in this person's name; an expired access token is renewed once and the request repeated. */
  async call(method, path, options = {}) {
    const used = this.bearer;
    if (!used) throw new Refusal('signed-out', { status: 401 });
    try {
      return await call(method, path, { ...options, bearer: used });
    } catch (refused) {
      if (!isAboutSignIn(refused)) throw refused;
      return await call(method, path, { ...options, bearer: await this.renew(used) });
    }
  }

  /** Gives a fresh access token in place of `used`, or forgets the sign-in where the server has ended it. */
  async renew(used) {
    this.#renewal ??= alone(this.#stored, () => this.#renew(used)).finally(() => { this.#renewal = null; });
    return await this.#renewal;
  }

  async #renew(used) {
    const held = this.#tokens;
    if (!held?.refresh) throw new Refusal('signed-out', { status: 401 });
    if (held.access !== used) return held.access; // another tab was quicker
    try {
      this.#keep((await call('POST', '/auth/refresh-token', { json: { refresh_token: held.refresh } })).data);
      return this.bearer;
    } catch (refused) {
      if (refused.passing) throw refused;
      this.forget();
      throw new Refusal('signed-out', { status: 401 });
    }
  }

  #keep({ access_token: access, refresh_token: refresh, user }) {
    const tokens = { access, refresh, user: user ?? this.user };
    try { localStorage.setItem(this.#stored, JSON.stringify(tokens)); } catch { throw new Refusal('storage'); }
    this.dispatchEvent(new Event('change'));
  }
}

// A 401 also says "this code is no good"; that is about the code, not about the sign-in.
const isAboutSignIn = (refused) => refused.status === 401 && !refused.code.startsWith('qr-');

// `navigator.locks` is there on https and loopback only; elsewhere one tab at a time is what people have anyway.
const alone = (name, work) => (navigator.locks ? navigator.locks.request(name, work) : work());
