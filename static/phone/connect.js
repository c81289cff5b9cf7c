// From a code to a cart: scan it, or move the session that is open already.

import { once } from '/static/shared/api.js';
import { byId, whileBusy } from '/static/shared/dom.js';
import { t } from '/static/shared/i18n.js';
import { cartName } from './names.js';
import { complain, show, showing } from './views.js';

/** What did not arrive may be sent again; what was refused may not. */
let retry = null;

/** Binds; gives the session, or null where the person decided otherwise or was refused (and told so). `again()` tries once more. */
export async function connect(signIn, code, again) {
  try {
    return (await signIn.call('POST', '/customer-session/scan-qr', { json: { token: code }, headers: { 'Idempotency-Key': once() } })).data;
  } catch (refused) {
    if (refused.code === 'session-open') return await offerMove(signIn, code, await openSession(signIn, refused));
    if (refused.code !== 'signed-out') refuse(() => refused.text, refused.passing ? again : null);
    return null;
  }
}

/** `why()` says it, in the language of the moment. */
export function refuse(why, again = null) {
  retry = again;
  show('refused', {
    draw: () => {
      byId('refused-text').textContent = why();
      byId('refused-scan').textContent = t(again ? 'again' : 'refused.scan');
    },
  });
}

/** Tries once more where that is worth it; false where a new code is needed. */
export function tryAgain() {
  if (showing() !== 'refused' || !retry) return false;
  retry();
  return true;
}

async function openSession(signIn, refused) {
  const path = refused.problem.session_id ? `/customer-session/${refused.problem.session_id}` : `/customer-session/active/${signIn.user.id}`;
  return (await signIn.call('GET', path)).data;
}

/** A second cart while the first is still ours: ask, then move. */
function offerMove(signIn, code, session) {
  const dialog = byId('move-dialog');
  byId('move-text').textContent = t('move.text', { label: cartName(session) });
  complain('move-problem', '');
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(session);
    byId('move-go').onclick = (event) => whileBusy(event.currentTarget, async () => {
      try {
        const { data } = await signIn.call('POST', `/customer-session/${session.session_id}/transfer`, { json: { token: code }, headers: { 'Idempotency-Key': once() } });
        resolve(data);
        dialog.close();
      } catch (refused) {
        complain('move-problem', refused.text);
      }
    });
  });
}
