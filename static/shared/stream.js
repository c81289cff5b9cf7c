// An event stream that never gives up. The browser's own `EventSource` stops for good on any answer but 200 (a 502 during a
// deploy is enough), hides heartbeats, so a dead link looks alive, and cannot send a bearer. This one reads the stream with
// `fetch`: one connection at a time, a new one after any end, silence or sleep, `Last-Event-ID` carried along.

import { learnServerTime, stopwatch } from './clock.js';
import { frames } from './frames.js';

const SILENCE = 40_000; // two heartbeats and some: the server sends one every 15 s
const LOOK = 5_000;
const LONGEST_WAIT = 10_000;
const HEALTHY_AFTER = 5_000;

export class Stream {
  #source;
  #wanted = false;
  #connection = null;
  #wake = () => {};
  #silence = stopwatch();
  #lastId = null;
  #retry = 1_000;
  #state = 'closed';
  #watch = null;
  #hurry = () => this.kick();
  #drop = () => this.#connection?.abort();

  /**
   * Started once and stopped for good.
   * `source.open()` → `{ url, headers }` for the next connection (a fresh ticket or bearer, where one is needed);
   * `source.onFrame(frame)` for every JSON frame; `source.onState('connecting' | 'open' | 'lost' | 'done')`;
   * `source.onRefused(status)` → true to try again (401, 403 and 404 only), anything else ends it.
   */
  constructor(source) {
    this.#source = source;
  }

  start() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#watch = setInterval(() => this.#look(), LOOK);
    addEventListener('online', this.#hurry);
    addEventListener('offline', this.#drop);
    document.addEventListener('visibilitychange', this.#visible);
    this.#run();
  }

  stop() {
    this.#wanted = false;
    clearInterval(this.#watch);
    removeEventListener('online', this.#hurry);
    removeEventListener('offline', this.#drop);
    document.removeEventListener('visibilitychange', this.#visible);
    this.#connection?.abort();
    this.#wake();
  }

  /** Connect again now: the network is back, or somebody is looking. */
  kick() {
    if (this.#state === 'open') return;
    this.#wake();
  }

  #visible = () => {
    if (document.visibilityState !== 'visible') return;
    this.#look();
    this.kick();
  };

  #look() {
    if (this.#connection && this.#silence() > SILENCE) this.#connection.abort();
  }

  async #run() {
    let failures = 0;
    while (this.#wanted) {
      const lived = stopwatch();
      if (!(await this.#connect())) break;
      failures = lived() > HEALTHY_AFTER ? 0 : failures + 1;
      if (!this.#wanted) break;
      this.#tell('lost');
      await this.#pause(failures);
    }
    if (!this.#wanted) return;
    this.stop();
    this.#tell('done');
  }

  /** One connection from opening to end. False: there is nothing more to come. */
  async #connect() {
    const connection = new AbortController();
    this.#connection = connection;
    this.#silence = stopwatch();
    this.#tell('connecting');
    try {
      const { url, headers = {} } = await this.#source.open();
      const response = await fetch(url, {
        headers: { Accept: 'text/event-stream', ...(this.#lastId ? { 'Last-Event-ID': this.#lastId } : {}), ...headers },
        credentials: 'same-origin', cache: 'no-store', signal: connection.signal,
      });
      learnServerTime(response.headers.get('Date') ?? '');
      if (response.status === 204) return false;
      if (!isStream(response)) {
        await response.body?.cancel();
        return [401, 403, 404].includes(response.status) ? (await this.#source.onRefused?.(response.status)) === true : true;
      }
      await this.#read(response.body);
    } catch {
      // Cut, refused by the network, or aborted by us for its silence: all the same to what comes next.
    } finally {
      this.#connection = null;
      connection.abort();
    }
    return true;
  }

  async #read(body) {
    const alive = () => { this.#silence = stopwatch(); };
    for await (const { data, id, retry } of frames(body, alive)) {
      if (!this.#wanted) return;
      if (retry !== null) this.#retry = retry;
      if (id !== null) this.#lastId = id || null;
      if (data === null) continue;
      this.#tell('open');
      const frame = parsed(data);
      if (frame) this.#source.onFrame(frame);
    }
  }

  /** Waits longer after each failure in a row, never in step with the other thousand screens. */
  #pause(failures) {
    const longest = Math.min(LONGEST_WAIT, Math.max(failures ? this.#retry : 500, 500) * 2 ** Math.max(0, failures - 1));
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, longest * (0.5 + Math.random() / 2));
      this.#wake = () => { clearTimeout(timer); resolve(); };
    });
  }

  #tell(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#source.onState?.(state);
  }
}

const isStream = (response) => response.status === 200 && /event-stream/.test(response.headers.get('Content-Type') ?? '');

function parsed(data) {
  try { return JSON.parse(data); } catch { return null; }
}
