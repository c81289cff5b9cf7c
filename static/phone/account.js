// Sign in, sign up, or go on as a guest.

import { byId, whileBusy } from '/static/shared/dom.js';
import { t } from '/static/shared/i18n.js';
import { complain, show } from './views.js';

let isNew = false;

/** Makes the form work; `onSignedIn` is called afterwards. */
export function offerSignIn(signIn, onSignedIn) {
  const form = byId('sign-in');
  const run = (button, work) => whileBusy(button, async () => {
    complain('sign-in-problem', '');
    try {
      await work();
      form.reset();
      onSignedIn();
    } catch (refused) {
      complain('sign-in-problem', refused.status === 409 ? t('problem.email-taken') : fieldsOf(refused) ?? refused.text);
    }
  });
  form.onsubmit = (event) => {
    event.preventDefault();
    const [email, password, name] = ['email', 'password', 'name'].map((id) => byId(id).value.trim());
    if (!form.checkValidity() || (isNew && !name)) return complain('sign-in-problem', t('welcome.incomplete'));
    run(byId('sign-in-go'), () => (isNew ? signIn.withNewAccount({ email, password, full_name: name }) : signIn.withPassword(email, password)));
  };
  byId('guest').onclick = (event) => run(event.currentTarget, () => signIn.asGuest());
  byId('sign-in-other').onclick = () => ask(!isNew);
}

/** The form for a new account or for a known one. */
export function ask(asNew) {
  isNew = asNew;
  byId('name-field').hidden = !isNew;
  byId('password-hint').hidden = !isNew;
  byId('password').autocomplete = isNew ? 'new-password' : 'current-password';
  byId('sign-in-go').textContent = t(isNew ? 'welcome.sign-up' : 'welcome.sign-in');
  byId('sign-in-other').textContent = t(isNew ? 'welcome.to-sign-in' : 'welcome.to-sign-up');
  complain('sign-in-problem', '');
}

/** `why` is a key of the words: a first visit, a code waiting to be used, an ended sign-in. */
export function welcome(why, { asNew = false } = {}) {
  isNew = asNew;
  show('welcome', { draw: () => { ask(isNew); byId('welcome-text').textContent = t(why); } });
}

const fieldsOf = ({ problem }) => problem.errors?.map((error) => error.message).join(' ');
