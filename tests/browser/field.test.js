// The two front-end snippets that are in the field, to the letter, in a real browser against the real server.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { asSignedIn, cartScreen, guest, linkOf } from './helpers/actors.js';
import { launch } from './helpers/browser.js';
import { Server, until } from './helpers/server.js';

let server, browser;
before(async () => { [server, browser] = await Promise.all([Server.start(), launch()]); });
after(async () => { await browser?.close(); await server?.stop(); });

test('a native EventSource with only onmessage reads session_id, token and event_type, and a fetch with a bearer scans', async () => {
  const screen = await cartScreen(browser, server, '2');
  await screen.goto(`${server.url}/livez`);
  await screen.evaluate(() => {
    window.seen = [];
    const eventSource = new EventSource('/sse/2');
    eventSource.onmessage = (event) => {
      const data = JSON.parse(event.data);
      window.seen.push({ event_type: data.event_type, session_id: data.session_id, token: data.token });
      if (data.event_type === 'session-started') eventSource.close();
    };
  });
  await until(() => screen.evaluate(() => window.seen.length), (count) => count > 0, 'the greeting');
  const token = await screen.evaluate(async () => {
    const response = await fetch('/customer-session/qr/2');
    return (await response.text()).replace(/"/g, '');
  });
  assert.ok(Number.isInteger(JSON.parse(atob(token.split('.')[1])).exp), 'the token is a JWT with a numeric exp');

  const phone = await guest(browser, server);
  const scanned = await phone.evaluate(async (qr) => {
    const { access } = JSON.parse(localStorage.getItem('cartlink.customer'));
    const response = await fetch('/customer-session/scan-qr', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${access}` },
      body: JSON.stringify({ token: qr }),
    });
    return { status: response.status, body: await response.json() };
  }, token);
  assert.equal(scanned.status, 200);
  assert.equal(scanned.body.status, 'active');
  assert.equal(scanned.body.cart_id, 2);

  const [started] = (await until(() => screen.evaluate(() => window.seen.filter((frame) => frame.event_type === 'session-started')), (seen) => seen.length > 0, 'session-started'));
  assert.equal(started.session_id, scanned.body.session_id);
  assert.equal(started.token.split('.').length, 3, 'the token is a JWT');
  const session = await screen.evaluate(async ([id, bearer]) => (await (await fetch(`/customer-session/${id}`, { headers: { Authorization: `Bearer ${bearer}` }, credentials: 'omit' })).json()), [started.session_id, started.token]);
  assert.equal(session.session_id, started.session_id, 'and opens the session');
  const ended = await asSignedIn(phone, 'cartlink.customer', 'POST', `/customer-session/${started.session_id}/end`);
  assert.equal(ended.status, 200);
});

test('a code used by one phone is refused to the next, in plain words', async () => {
  const screen = await cartScreen(browser, server, '3');
  const link = await linkOf(screen, '3');
  const [first, second] = await Promise.all([guest(browser, server), guest(browser, server)]);
  const scan = (phone) => asSignedIn(phone, 'cartlink.customer', 'POST', '/customer-session/scan-qr', { token: link });
  assert.equal((await scan(first)).status, 200);
  const refused = await scan(second);
  assert.equal(refused.status, 401);
  assert.equal(refused.data.code, 'qr-already-used');
});
