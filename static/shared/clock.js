// The server's time, as far as this page can know it. A cart's own clock may be an hour wrong; nothing here trusts it.

let serverAtAnchor = null;
let anchor = 0;

/** Called with the `Date` header of every answer (or a `server_time`): whole seconds are enough for ticking texts. */
export function learnServerTime(text) {
  const told = Date.parse(text);
  if (Number.isNaN(told)) return;
  serverAtAnchor = told;
  anchor = performance.now();
}

export function serverNow() {
  return serverAtAnchor === null ? Date.now() : serverAtAnchor + (performance.now() - anchor);
}

/** Milliseconds since an instant of the server, never negative. */
export function since(instant) {
  const start = Date.parse(instant);
  return Number.isNaN(start) ? 0 : Math.max(0, serverNow() - start);
}

/**
 * A stopwatch that also sees sleep: `performance.now()` may stand still while a laptop sleeps, the wall clock does not.
 * A wall clock set back is ignored, one set forward only makes us careful too early.
 */
export function stopwatch() {
  const steady = performance.now();
  const wall = Date.now();
  return () => Math.max(performance.now() - steady, Date.now() - wall);
}
