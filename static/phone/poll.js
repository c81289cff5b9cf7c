// The fallback where a stream cannot pass (some proxies hold it back): asks for the next change and waits up to 25 s for it.

const WAIT = 25;
const PAUSE = 2_000;

export class Poll {
  #wanted = false;

  /** `onState(session)` for each change, `onGone()` where there is nothing to ask for, `onLink` as a stream tells it. */
  constructor(signIn, id, { onState, onGone, onLink }) {
    this.signIn = signIn;
    this.id = id;
    this.onState = onState;
    this.onGone = onGone;
    this.onLink = onLink;
  }

  async start() {
    this.#wanted = true;
    let seen = null;
    while (this.#wanted) {
      try {
        const { data, headers } = await this.signIn.call('GET', `/session/${this.id}?wait=${WAIT}`, {
          timeout: (WAIT + 10) * 1000, headers: seen ? { 'If-None-Match': seen } : {},
        });
        seen = headers.get('ETag');
        if (!this.#wanted) return undefined;
        this.onLink('open');
        this.onState(data);
      } catch (refused) {
        if (refused.status === 304) continue;
        seen = null; // the next answer shall come at once: it is what tells that the link is back
        if (this.#wanted) this.onLink('lost');
        if (!refused.passing) return this.onGone();
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
      }
    }
    return undefined;
  }

  stop() {
    this.#wanted = false;
  }
}
