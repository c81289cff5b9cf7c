// Small tools for the page's own tree. Text only ever goes in as text: no markup is built from strings here or anywhere.

const SVG = 'http://www.w3.org/2000/svg';

/** The element with this id; its absence is a bug in the page and says so. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/** Makes an element: `el('p', { class: 'small', onclick }, 'text', child)`. Null children are left out. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, '');
    else node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An icon of the sheet, silent for screen readers: the words beside it speak. */
export function icon(name, extra = '') {
  return svg('svg', { class: `icon ${extra}`.trim(), 'aria-hidden': 'true' }, svg('use', { href: `/static/shared/icons.svg#${name}` }));
}

/** Writes text only where it changed, so that live regions and layout stay quiet. */
export function say(node, text) {
  const only = node.firstChild;
  if (only?.nodeType === Node.TEXT_NODE && only === node.lastChild) {
    if (only.data !== text) only.data = text; // the node stays: a page that changes all day makes no new ones
  } else if (node.textContent !== text) {
    node.textContent = text;
  }
}

/** Shows a button as busy while `work` runs, and never lets it run twice at once. */
export async function whileBusy(button, work) {
  if (button.getAttribute('aria-busy') === 'true') return undefined;
  button.setAttribute('aria-busy', 'true');
  button.classList.add('busy');
  try {
    return await work();
  } finally {
    button.removeAttribute('aria-busy');
    button.classList.remove('busy');
  }
}

/** Two digits, each in its own box; read out as digits, not as a number. */
export function drawCheckCode(node, code) {
  const digits = [...String(code ?? '').padStart(2, '0')];
  node.replaceChildren(...digits.map((digit) => el('span', { 'aria-hidden': 'true' }, digit)), el('b', { class: 'unseen' }, digits.join(' ')));
}
