// What the cart's screen sends during a session: that it has it, that somebody is there, and "not you".

import { call } from '/static/shared/api.js';

const AGAIN = 1_000;
const TOUCHES_ARE_TOLD_EVERY = 60_000;

const post = (id, act) => call('POST', `/customer-session/${encodeURIComponent(id)}/${act}`);

/** Tells the server that this screen shows the session: without it, the server ends it after 30 s. */
export async function acknowledge(id, stillOurs) {
  while (stillOurs()) {
    try {
      await post(id, 'ack');
      return;
    } catch (refused) {
      if (!refused.passing) return; // it has ended meanwhile; the stream says how
      await new Promise((resolve) => setTimeout(resolve, refused.retryAfter ? refused.retryAfter * 1000 : AGAIN));
    }
  }
}

export const release = (id) => post(id, 'release');

let lastTold = -Infinity;

/** Somebody touches the screen. Told at once where the server is about to give up, else once a minute. */
export async function tellActivity(id, urgent) {
  if (!urgent && performance.now() - lastTold < TOUCHES_ARE_TOLD_EVERY) return false;
  lastTold = performance.now();
  try {
    await post(id, 'activity');
    return true;
  } catch {
    lastTold = -Infinity;
    return false;
  }
}
