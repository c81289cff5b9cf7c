// The customer's page: who are you, which cart, and then the session until its receipt.

import { byId, whileBusy } from '/static/shared/dom.js';
import { speak, t } from '/static/shared/i18n.js';
import { drawReceipt } from '/static/shared/receipt.js';
import { SignIn } from '/static/shared/sign-in.js';
import { offerSignIn, welcome } from './account.js';
import { openCamera } from './camera.js';
import { connect, refuse, tryAgain } from './connect.js';
import { codeIn, takeFromAddress } from './link.js';
import { Live } from './live.js';
import { line, page } from './past.js';
import { close, complain, onBack, redraw, show, showing } from './views.js';

const BANNER_AFTER = 3_000;

let pending = takeFromAddress();
let banner = null;
let leaving = false;

const signIn = new SignIn('cartlink.customer');
await speak('phone');
const live = new Live(signIn, { onOver: over, onMove: scan, onLink: showLink });

offerSignIn(signIn, begin);
onBack(home);
signIn.addEventListener('change', () => {
  if (!signIn.user && showing() !== 'welcome') {
    live.close();
    welcome(leaving ? 'welcome.text' : 'welcome.ended');
  }
});
document.addEventListener('languagechange', redraw);
addEventListener('hashchange', () => { pending = takeFromAddress() ?? pending; if (pending) begin(); });
addEventListener('online', () => { showLink('open'); tryAgain(); });
addEventListener('offline', () => showLink('offline'));
if (!navigator.onLine) showLink('offline');
begin();

/** Where to start: sign in first, then the code that was brought along, then what is open, then home. */
async function begin() {
  if (!signIn.user) return welcome(pending ? 'welcome.text-pending' : 'welcome.text');
  if (pending) return show('confirm');
  const open = await signIn.call('GET', `/customer-session/active/${signIn.user.id}`).catch(() => null);
  if (!signIn.user) return undefined;
  return open?.data?.session_id ? live.open(open.data) : home();
}

function home() {
  if (!signIn.user) return welcome('welcome.text');
  if (live.session) return live.open(live.session);
  complain('home-problem', '');
  return show('home', { draw: drawHome });
}

function drawHome() {
  const name = signIn.user?.full_name?.split(' ')[0];
  byId('home-title').textContent = name ? t('home.title', { name }) : t('home.title-guest');
  byId('who').textContent = signIn.user?.email ?? t('home.guest');
  byId('keep-account').hidden = Boolean(signIn.user?.email);
  return drawRecent();
}

async function drawRecent() {
  const { items } = await page(signIn, { limit: 3 }).catch(() => ({ items: [] }));
  byId('recent').hidden = items.length === 0;
  byId('recent-list').replaceChildren(...items.map((session) => line(session, look)));
}

function scan() {
  return openCamera(bind);
}

async function bind(code) {
  pending = null;
  const session = await connect(signIn, code, () => bind(code));
  if (session) live.open({ ...session });
}

/** The session is over: its receipt, or why. */
function over(session) {
  showLink('open');
  show('done', { draw: () => drawOver(session) });
}

function drawOver(session) {
  const completed = session.status === 'completed';
  byId('done-icon').classList.toggle('good', completed);
  byId('done-icon').firstElementChild.setAttribute('href', `/static/shared/icons.svg#${completed ? 'check' : 'exit'}`);
  byId('done-title').textContent = t(`done.${session.status}.title`);
  byId('done-text').textContent = completed ? t('done.completed.text') : session.reason ? `${t(`reason.${session.reason}`)}.` : '';
  byId('done-receipt').hidden = !completed;
  if (completed) drawReceipt(byId('done-receipt'), session.receipt);
}

async function look(session) {
  const read = await signIn.call('GET', `/customer-session/${session.session_id}`).catch(() => ({ data: {} }));
  over({ ...session, ...read.data });
}

function openPast() {
  show('past', { draw: () => { byId('past-list').replaceChildren(); morePast(null); } });
}

async function morePast(cursor) {
  const more = await page(signIn, { limit: 20, cursor }).catch(() => ({ items: [], cursor: null }));
  byId('past-list').append(...more.items.map((session) => line(session, look)));
  byId('past-none').hidden = byId('past-list').childElementCount > 0;
  byId('past-more').hidden = !more.cursor;
  byId('past-more').onclick = (event) => whileBusy(event.currentTarget, () => morePast(more.cursor));
}

/** Where there is no camera: at home there is a place to type; with a cart in hand, a dialog over it. */
function typeInstead() {
  close(home);
  if (!live.session) {
    byId('paste-home').open = true;
  } else {
    byId('paste-place').append(byId('paste'));
    byId('paste-dialog').showModal();
  }
}

/** A banner for a link that stays lost; a blip is not worth a word. */
function showLink(state) {
  if (state === 'open' || state === 'offline') {
    clearTimeout(banner);
    banner = null;
  }
  if (state === 'open') {
    byId('offline').hidden = true;
  } else {
    banner ??= setTimeout(() => {
      byId('offline').hidden = false;
      byId('offline-text').textContent = t(navigator.onLine ? 'reconnecting' : 'offline');
    }, state === 'offline' ? 0 : BANNER_AFTER);
  }
}

byId('scan').onclick = scan;
byId('camera-again').onclick = scan;
byId('refused-scan').onclick = () => tryAgain() || scan();
byId('refused-home').onclick = home;
byId('done-home').onclick = home;
byId('all-past').onclick = openPast;
byId('camera-stop').onclick = () => close(home);
byId('camera-paste').onclick = typeInstead;
byId('confirm').onclick = (event) => whileBusy(event.currentTarget, () => bind(pending));
byId('confirm-not').onclick = () => { pending = null; begin(); };
byId('keep-account').onclick = () => welcome('welcome.text', { asNew: true });
byId('sign-out').onclick = async () => { leaving = true; live.close(); await signIn.out(); leaving = false; };
byId('paste').onsubmit = (event) => {
  event.preventDefault();
  const code = codeIn(byId('paste-text').value);
  byId('paste-dialog').close();
  if (!code) return refuse(() => t('problem.qr-malformed'));
  byId('paste').reset();
  return whileBusy(event.target.querySelector('button'), () => bind(code));
};
byId('paste-dialog').onclose = () => byId('paste-home').append(byId('paste'));

if (window.parent !== window) import('./beside.js').then(({ listen }) => listen({ bind, live }));
