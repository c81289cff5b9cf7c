// What the cart's screen makes of its stream: frames in, view out.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pageModule } from './helpers/page-module.js';

const { free, next, START } = await pageModule('cart/state.js');

const after = (...frames) => frames.reduce(next, START);
const greeting = (status, session = null) => ({ type: 'connection', event_type: 'connection', status, session });
const started = { event_type: 'session-started', session_id: 1, status: 'active', check_code: '42', display_name: 'S.', updated_at: '2026-01-15T12:00:00.000Z' };
const about = (event_type, fields = {}) => ({ event_type, session_id: 1, ...fields });

test('a free cart shows its code, any other says why not', () => {
  assert.equal(after(greeting('available')).view, 'ready');
  assert.equal(after(greeting('maintenance')).view, 'unavailable');
  assert.equal(after(greeting('available'), { event_type: 'cart-status', status: 'battery low' }).view, 'unavailable');
});

test('a scan greets by name and check code, and a reloaded screen goes on where it was', () => {
  const fresh = after(greeting('available'), started);
  assert.equal(fresh.view, 'shopping');
  assert.equal(fresh.session.name, 'S.');
  assert.equal(fresh.session.checkCode, '42');
  const reloaded = after(greeting('in use', { session_id: 1, status: 'fetched', phase: 'checkout', created_at: started.updated_at }), started);
  assert.equal(reloaded.view, 'checkout');
  assert.equal(reloaded.session.name, 'S.');
});

test('a screen reloaded in the middle goes to its code after the goodbye, not to "in use"', () => {
  const ended = after(greeting('in use', { session_id: 1, status: 'fetched', phase: 'shopping', created_at: started.updated_at }), started, about('session-ended', { reason: 'force_ended' }));
  assert.equal(ended.view, 'ended');
  assert.equal(free(ended).view, 'ready');
});

test('the checkout leads to the receipt, or back to shopping where it failed', () => {
  const paying = after(greeting('available'), started, about('session-fetched'), about('checkout-started'));
  assert.equal(paying.view, 'checkout');
  assert.equal(next(paying, about('checkout-failed')).view, 'shopping');
  const paid = next(paying, about('checkout-completed', { receipt: { currency: 'EUR', total: 1, items: [] } }));
  assert.equal(paid.view, 'receipt');
  assert.equal(paid.receipt.total, 1);
  assert.equal(next(paid, { event_type: 'cart-status', status: 'available' }).view, 'receipt', 'the goodbye is not cut short');
  assert.equal(free(paid, 'available').view, 'ready');
});

test('an idle warning goes away when somebody comes back', () => {
  const idle = after(greeting('available'), started, about('session-idle-warning'));
  assert.equal(idle.idle, true);
  assert.equal(next(idle, about('session-resumed')).idle, false);
});

test('every end says goodbye in its own words, and a session that ended while the screen was away ends too', () => {
  const shopping = after(greeting('available'), started);
  assert.equal(next(shopping, about('session-ended', { reason: 'released_at_cart' })).ending, 'released');
  assert.equal(next(shopping, about('session-expired', { reason: 'idle_timeout' })).ending, 'expired');
  assert.equal(next(shopping, greeting('available')).view, 'ended');
});

test('only a cart that had the session says that it has moved; to one that never took it, it stays where it was', () => {
  const coming = after(greeting('available'), started);
  assert.equal(next(coming, about('session-transferred', { cart_id: 8, to_cart_id: 7 })).ending, 'stayed');
  const here = next(coming, about('session-fetched'));
  assert.equal(next(here, about('session-transferred', { cart_id: 7, to_cart_id: 8 })).ending, 'moved');
  assert.equal(next(here, about('session-transferred', { cart_id: 7, to_cart_id: 7 })), here, 'a move to itself is none');
});

test('what concerns another session changes nothing', () => {
  const shopping = after(greeting('available'), started);
  assert.equal(next(shopping, { event_type: 'session-ended', session_id: 9 }), shopping);
});
