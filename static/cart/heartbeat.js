// Tells the store every 15 s that this cart is alive, and how its battery is.

import { call } from '/static/shared/api.js';

const EVERY = 15_000;
const APP_VERSION = 'web-1';

/** Starts the heartbeat; the function it gives back stops it. `session()` is the open session's id or null. */
export function beat(cart, session) {
  const send = async () => {
    const power = await navigator.getBattery?.().catch(() => null);
    const state = { app_version: APP_VERSION, session_id: session() };
    if (power) Object.assign(state, { battery: Math.round(power.level * 100), charging: power.charging });
    // A beat that is lost is followed by the next one; the stream is what notices a refused cart.
    await call('POST', `/carts/${encodeURIComponent(cart)}/heartbeat`, { json: state, timeout: EVERY }).catch(() => {});
  };
  send();
  const timer = setInterval(send, EVERY);
  return () => clearInterval(timer);
}
