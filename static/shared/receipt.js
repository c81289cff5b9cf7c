// A receipt as a table: what, how many, how much, and the sum. Amounts are integers in minor units.

import { el } from './dom.js';
import { money, number } from './format.js';
import { t } from './i18n.js';

/** Draws a receipt, or a plain word of thanks where the store sent none. */
export function drawReceipt(node, receipt) {
  if (!receipt) {
    node.replaceChildren(el('p', { class: 'quiet-text' }, t('receipt.none')));
    return;
  }
  node.replaceChildren(el('table', {},
    el('caption', { class: 'unseen' }, t('receipt.title')),
    el('thead', { class: 'unseen' }, el('tr', {}, el('th', { scope: 'col' }, t('receipt.item')), el('th', { scope: 'col' }, t('receipt.amount')))),
    el('tbody', {}, receipt.items.map((item) => line(item, receipt.currency))),
    el('tfoot', {}, el('tr', {}, el('th', { scope: 'row' }, t('receipt.total')), el('td', {}, money(receipt.total, receipt.currency))))));
}

function line(item, currency) {
  const count = item.quantity > 1 ? el('span', { class: 'quiet-text' }, ` × ${number(item.quantity)}`) : null;
  return el('tr', {}, el('td', {}, el('bdi', {}, item.name), count), el('td', {}, money(item.amount, currency)));
}
