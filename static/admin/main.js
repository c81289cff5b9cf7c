// The staff's page: sign in, then four places chosen by the address (`#/floor`, `#/sessions`, `#/carts`, `#/figures`).

import { byId, say, whileBusy } from '/static/shared/dom.js';
import { speak, t } from '/static/shared/i18n.js';
import { SignIn } from '/static/shared/sign-in.js';
import { CartActions } from './cart-actions.js';
import { drawCarts } from './carts.js';
import { close } from './dialogs.js';
import { drawFigures } from './figures.js';
import { Floor } from './floor.js';
import { learnRole, may } from './role.js';
import { drawSession } from './session.js';
import { Sessions } from './sessions.js';

const OTHERS_FOLLOW = 500; // many changes at once are one look at the other places
const SHARE = 10; // and looking takes at most a tenth of the time

const sections = document.querySelectorAll('main > [data-view]');
const signIn = new SignIn('cartlink.staff');
await speak('admin');
const actions = new CartActions(signIn, () => { say(byId('news'), t('done')); go({ quiet: true }); });
const sessions = new Sessions(signIn);
let floor = null;
let following = null;
let pause = OTHERS_FOLLOW;

if (signIn.user) await signIn.call('GET', '/auth/me').then(({ data }) => learnRole(data), () => {});
sessions.offer();
addEventListener('hashchange', () => go());
signIn.addEventListener('change', () => { if (!signIn.user) { leave(); go(); } });
document.addEventListener('languagechange', () => { sessions.offer(); floor?.redraw(); go({ quiet: true }); });
go();

/** Shows what the address says. The floor goes on living while another place is shown: coming back costs nothing. */
function go({ quiet = false } = {}) {
  const [place, id] = location.hash.replace(/^#\/?/, '').split('/');
  if (!signIn.user) return show('sign-in', quiet);
  floor ??= new Floor(signIn, (cart) => actions.show(floor.cart(cart.cart_id) ?? cart), follow);
  if (!quiet) close();
  switch (place) {
    case 'sessions':
      if (id) { show('session', quiet, 'sessions'); return drawSession(signIn, actions, decodeURIComponent(id)); }
      show('sessions', quiet);
      return sessions.load();
    case 'carts':
      byId('cart-new').hidden = !may('manager');
      show('carts', quiet);
      return drawCarts(signIn, actions);
    case 'figures': show('figures', quiet); return drawFigures(signIn);
    default: return show('floor', quiet);
  }
}

/** What changes on the floor shows in the other places too, whoever did it. */
function follow(before, after) {
  const { view } = document.body.dataset;
  const id = location.hash.split('/')[2];
  const concerned = view === 'carts' || (view === 'session' && [before, after].some(({ session }) => String(session?.session_id) === id));
  if (concerned) following ??= setTimeout(lookAgain, pause);
}

async function lookAgain() {
  const began = performance.now();
  await go({ quiet: true });
  pause = Math.max(OTHERS_FOLLOW, SHARE * (performance.now() - began));
  following = null;
}

function show(view, quiet, place = view) {
  for (const section of sections) section.hidden = section.dataset.view !== view;
  document.body.dataset.view = view;
  byId('nav').hidden = byId('sign-out').hidden = view === 'sign-in';
  for (const link of byId('nav').querySelectorAll('a')) {
    if (link.dataset.page === place) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (!quiet) document.querySelector(`section[data-view="${view}"] h1`)?.focus({ preventScroll: true });
}

function complain(text) {
  byId('sign-in-problem').hidden = false;
  byId('sign-in-problem').textContent = text;
}

function leave() {
  floor?.stop();
  floor = null;
  close();
}

byId('skip').onclick = (event) => { event.preventDefault(); byId('main').focus(); };
byId('cart-new').onclick = () => actions.create();
byId('sign-out').onclick = () => signIn.out();
byId('sign-in').onsubmit = (event) => {
  event.preventDefault();
  return whileBusy(event.target.querySelector('button'), async () => {
    byId('sign-in-problem').hidden = true;
    try {
      await signIn.withPassword(byId('email').value.trim(), byId('password').value);
      const { data: me } = await signIn.call('GET', '/auth/me');
      if (!me.role) {
        await signIn.out();
        return complain(t('sign-in.not-staff'));
      }
      learnRole(me);
      event.target.reset();
      return go();
    } catch (refused) {
      return complain(refused.text);
    }
  });
};
