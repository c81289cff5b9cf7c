// The table of carts and what can be done with each. It is drawn again when something changes; a row that says the same stays,
// and with it the focus on its buttons.

import { byId, el } from '/static/shared/dom.js';
import { number } from '/static/shared/format.js';
import { knows, t } from '/static/shared/i18n.js';

export async function drawCarts(signIn, actions) {
  byId('carts-problem').hidden = true;
  try {
    const { data } = await signIn.call('GET', '/carts/');
    draw(byId('cart-rows'), data, actions);
  } catch (refused) {
    byId('carts-problem').hidden = false;
    byId('carts-problem').textContent = refused.text;
  }
}

function draw(table, carts, actions) {
  const focus = document.activeElement?.closest('#cart-rows tr')?.dataset.cart;
  const drawn = new Map([...table.children].map((node) => [node.dataset.says, node]));
  const rows = carts.map((cart) => drawn.get(says(cart)) ?? row(cart, actions));
  if (rows.length === table.childElementCount && rows.every((node, at) => node === table.children[at])) return;
  table.replaceChildren(...rows);
  if (focus !== undefined) [...table.children].find((node) => node.dataset.cart === focus)?.querySelector('button')?.focus();
}

/** What a row shows of a cart, as one text. */
const says = ({ cart_id: id, label, lifecycle, status, battery }) => JSON.stringify([document.documentElement.lang, id, label, lifecycle, status, battery]);

function row(cart, actions) {
  const status = `cart-status.${cart.status}`;
  return el('tr', { 'data-cart': String(cart.cart_id), 'data-says': says(cart) },
    el('td', {}, el('b', {}, String(cart.label ?? cart.cart_id))),
    el('td', { class: 'mono' }, String(cart.cart_id)),
    el('td', {}, el('span', { class: `chip ${cart.lifecycle === 'in_service' ? 'good' : ''}` }, t(`lifecycle.${cart.lifecycle}`))),
    el('td', {}, knows(status) ? t(status) : cart.status ?? ''),
    el('td', {}, cart.battery === null ? '–' : `${number(cart.battery)} %`),
    el('td', {}, el('div', { class: 'row' }, cart.lifecycle === 'retired' ? [] : actions.buttons(cart))));
}
