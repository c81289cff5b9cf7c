// Two small charts, bars over time and bars by name, each with its figures as a table for screen readers.

import { el, svg } from '/static/shared/dom.js';
import { number } from '/static/shared/format.js';

/** Upright bars: `points` are `{ label, value }`. The bars stretch with the page, the words below them do not. */
export function columns(title, points, { every = 1 } = {}) {
  const most = Math.max(1, ...points.map((point) => point.value));
  const bars = points.map(({ label, value }, at) => svg('rect', { class: 'bar', x: at + 0.14, y: 100 - 100 * (value / most), width: 0.72, height: 100 * (value / most) }, svg('title', {}, `${label}: ${number(value)}`)));
  const named = points.filter((_, at) => at % every === 0);
  return framed(title, el('div', { class: 'columns', 'aria-hidden': 'true' },
    el('span', { class: 'tiny' }, number(most)),
    svg('svg', { viewBox: `0 0 ${Math.max(1, points.length)} 100`, preserveAspectRatio: 'none', class: 'chart stretched' }, bars),
    el('div', { class: 'scale tiny' }, named.map(({ label }) => el('span', {}, label)))), points);
}

/** Lying bars: `points` are `{ label, value, text }`, longest first as they come. The words are text, so that they read from either side. */
export function rows(title, points) {
  const most = Math.max(1, ...points.map((point) => point.value));
  const lines = points.map(({ label, value, text }) => el('li', {},
    el('span', {}, label), el('b', {}, text ?? number(value)),
    svg('svg', { class: 'chart lying', viewBox: '0 0 100 1', preserveAspectRatio: 'none' },
      svg('rect', { class: 'bar', width: Math.max(value > 0 ? 1 : 0, 100 * (value / most)), height: 1 }))));
  return framed(title, el('ul', { class: 'rows', 'aria-hidden': 'true' }, lines), points);
}

function framed(title, drawing, points) {
  return el('section', { class: 'card figure' }, el('h2', {}, title), drawing,
    el('table', { class: 'unseen' }, el('caption', {}, title), el('tbody', {}, points.map(({ label, value, text }) => el('tr', {}, el('th', { scope: 'row' }, label), el('td', {}, text ?? number(value)))))));
}
