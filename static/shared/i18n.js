// Words. A language is a plain module of `key: text` beside each page (`/static/cart/en.js`) and one for all (`/static/shared/en.js`).
// A text may hold `{name}`; one that depends on a number is an object by plural category: `{ one: …, other: … }`.

const LANGUAGES = { en: { name: 'English', dir: 'ltr' }, ar: { name: 'العربية', dir: 'rtl' } };
const STORED = 'cartlink.language';

let current = 'en';
let words = {};
let pageName = '';

/** Loads the words of a page in the language asked for, remembered or preferred, and fills the page with them. */
export async function speak(page) {
  pageName = page;
  await choose(new URLSearchParams(location.search).get('lang') ?? stored() ?? preferred(), { remember: false });
}

/** Changes the language in place; everything marked with `data-t` follows, the rest listens for `languagechange`. */
export async function choose(language, { remember = true } = {}) {
  current = language in LANGUAGES ? language : 'en';
  if (remember) keep(current);
  const [shared, own] = await Promise.all([
    import(`/static/shared/${current}.js`),
    import(`/static/${pageName}/${current}.js`),
  ]);
  words = { ...shared.default, ...own.default };
  document.documentElement.lang = current;
  document.documentElement.dir = LANGUAGES[current].dir;
  translate(document);
  document.dispatchEvent(new Event('languagechange'));
}

/** The text for a key, its `{holes}` filled. */
export function t(key, values = {}) {
  let text = words[key];
  if (text === undefined) return key;
  if (typeof text === 'object') text = text[new Intl.PluralRules(current).select(values.count)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (hole, name) => (values[name] === undefined ? hole : isolated(values[name])));
}

/** A name or a number of the other direction keeps its own order inside the sentence (the dot of "S." stays behind it). */
const isolated = (value) => (LANGUAGES[current].dir === 'rtl' ? `\u2068${value}\u2069` : value);

export const knows = (key) => key in words;
export const language = () => current;

/** The language to offer next, by its own name: with two of them a button is enough. */
export function otherLanguage() {
  const code = Object.keys(LANGUAGES).find((each) => each !== current);
  return { code, name: LANGUAGES[code].name };
}

/** Fills `data-t` (text), `data-t-label` (accessible name) and `data-t-hint` (placeholder) under a node. */
export function translate(root) {
  for (const node of root.querySelectorAll('[data-t]')) node.textContent = t(node.dataset.t);
  for (const node of root.querySelectorAll('[data-t-label]')) node.setAttribute('aria-label', t(node.dataset.tLabel));
  for (const node of root.querySelectorAll('[data-t-hint]')) node.setAttribute('placeholder', t(node.dataset.tHint));
  for (const button of root.querySelectorAll('[data-language]')) offerOther(button);
}

function offerOther(button) {
  const other = otherLanguage();
  button.lang = other.code;
  (button.querySelector('[data-name]') ?? button).textContent = other.name;
  button.onclick = () => choose(other.code);
}

function preferred() {
  return navigator.languages.map((tag) => tag.split('-')[0]).find((code) => code in LANGUAGES) ?? 'en';
}

function stored() {
  try { return localStorage.getItem(STORED); } catch { return null; }
}

function keep(code) {
  try { localStorage.setItem(STORED, code); } catch { /* private mode: the choice lasts as long as the page */ }
}
