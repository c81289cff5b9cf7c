// What the store decides and does behind the pages: its settings by the admin's API, its till as a service of its own.

import { until } from './server.js';

const NAMES = ['Sam', 'Ada', 'Noor', 'Jun', 'Lena', 'Omar', 'Ines', 'Kofi'];

/** The demo's store, as its admin. */
export class Store {
  #url; #bearer;

  static async of(server) {
    const store = new Store();
    store.#url = server.url;
    const { email, password } = server.demo.admin;
    store.#bearer = (await store.#send('POST', '/auth/login', { username: email, password })).access_token;
    return store;
  }

  /** Settings are all of them: what is not named goes back to its default. */
  settle(settings) {
    return this.#send('PATCH', '/admin/stores/1', { settings });
  }

  session(id) {
    return this.#send('GET', `/admin/sessions/${id}`);
  }

  audit() {
    return this.#send('GET', '/admin/audit').then(({ items }) => items);
  }

  hire(staff) {
    return this.#send('POST', '/admin/staff', { full_name: 'Vera Viewer', store_id: 1, ...staff });
  }

  end(id, reason) {
    return this.#send('POST', `/admin/sessions/${id}/end`, { reason });
  }

  /** The till: `pay(session, receipt)` completes the checkout that is open, `refuse(session)` says that it did not work. */
  async till() {
    const service = await this.#send('POST', '/admin/services', { name: 'Till', scopes: ['checkout', 'sessions:read'], store_id: 1 });
    const { access_token: bearer } = await this.#send('POST', '/oauth2/token', { grant_type: 'client_credentials', client_id: service.client_id, client_secret: service.client_secret }, null);
    const settle = async (id, act, more = {}) => {
      const { checkout_id: checkout } = await this.#send('GET', `/customer-session/${id}`, undefined, bearer);
      return await this.#send('POST', `/customer-session/${id}/checkout/${act}`, { checkout_id: checkout, ...more }, bearer);
    };
    return { pay: (id, receipt) => settle(id, 'complete', { receipt }), refuse: (id) => settle(id, 'fail') };
  }

  /** Puts `count` more carts on the floor, in the states a busy store has: free, in use, paying, idle, nearly flat, away. */
  async fill(count) {
    await this.settle({ checkout_mode: 'external', idle_warning: 5, idle_expiry: 3600 });
    const idle = await Promise.all([1, 2].map((at) => this.#cart(at, { used: true })));
    await this.#forget(idle);
    await this.settle({ checkout_mode: 'external' });
    for (let at = 3; at <= count; at += 1) await this.#cart(at, { used: at % 2 === 0 || at % 5 === 0, paying: at % 8 === 0 });
    await this.#send('PATCH', '/carts/c7', { lifecycle: 'maintenance' });
    await this.#send('POST', '/carts/', { cart_id: `c${count + 1}`, label: `Cart ${count + 11}` });
  }

  async #cart(at, { used = false, paying = false }) {
    const id = `c${at}`;
    await this.#send('POST', '/carts/', { cart_id: id, label: `Cart ${at + 10}` });
    const { code } = await this.#send('POST', `/carts/${id}/enrolment`);
    const { device_key: key } = await this.#send('POST', '/carts/enrol', { code }, null);
    await this.#send('POST', `/carts/${id}/heartbeat`, { battery: at === 9 ? 11 : 35 + ((at * 37) % 64), charging: at % 6 === 1, app_version: 'web-1' }, key);
    if (!used) return null;
    const { access_token: customer } = await this.#send('POST', '/auth/signup', { email: `customer${at}@demo.example`, password: `pass of ${at} carts`, full_name: `${NAMES[at % NAMES.length]} Demo` }, null)
      .then(() => this.#send('POST', '/auth/login', { username: `customer${at}@demo.example`, password: `pass of ${at} carts` }, null));
    const token = await this.#send('GET', `/customer-session/qr/${id}`, undefined, key);
    const { session_id: session } = await this.#send('POST', '/customer-session/scan-qr', { token }, customer);
    await this.#send('POST', `/customer-session/${session}/ack`, undefined, key);
    if (paying) await this.#send('POST', `/customer-session/${session}/checkout`, {}, customer);
    return session;
  }

  /** So many customers, one after the other, who take a cart and give it back. */
  async pass(count) {
    const id = 'passing';
    await this.#send('POST', '/carts/', { cart_id: id, label: 'Passing' });
    const { code } = await this.#send('POST', `/carts/${id}/enrolment`);
    const { device_key: key } = await this.#send('POST', '/carts/enrol', { code }, null);
    for (let at = 0; at < count; at += 1) {
      const { access_token: customer } = await this.#send('POST', '/auth/guest', undefined, null);
      const token = await this.#send('GET', `/customer-session/qr/${id}`, undefined, key);
      const { session_id: session } = await this.#send('POST', '/customer-session/scan-qr', { token }, customer);
      await this.#send('POST', `/customer-session/${session}/end`, undefined, customer);
    }
  }

  /** Nobody touches these carts until they are asked whether anybody is there. */
  async #forget(sessions) {
    await until(() => Promise.all(sessions.map((id) => this.session(id))), (all) => all.every(({ phase }) => phase === 'idle_warning'), 'the warnings');
  }

  async #send(method, path, json, bearer = this.#bearer) {
    const headers = { ...(bearer ? { Authorization: `Bearer ${bearer}` } : {}), ...(json ? { 'Content-Type': 'application/json' } : {}) };
    const answer = await fetch(this.#url + path, { method, headers, body: json && JSON.stringify(json) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text && JSON.parse(text);
  }
}
