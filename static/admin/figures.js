// The store's figures: sessions per hour, how fast carts pick up, how sessions end.

import { byId, el } from '/static/shared/dom.js';
import { duration, number, percent } from '/static/shared/format.js';
import { language, knows, t } from '/static/shared/i18n.js';
import { columns, rows } from './chart.js';

export async function drawFigures(signIn) {
  byId('figures-problem').hidden = true;
  try {
    draw((await signIn.call('GET', '/admin/stats')).data);
  } catch (refused) {
    byId('figures-problem').hidden = false;
    byId('figures-problem').textContent = refused.text;
  }
}

function draw(stats) {
  const hour = new Intl.DateTimeFormat(language(), { hour: 'numeric' });
  const perHour = stats.sessions_per_hour.map(({ hour: at, count }) => ({ label: hour.format(new Date(at)), value: count }));
  const latency = stats.pickup_ms ?? {};
  const perCent = ['p50', 'p95', 'p99'].filter((name) => typeof latency[name] === 'number');
  const outcomes = Object.entries(stats.outcomes ?? {}).sort(([, a], [, b]) => b - a);
  byId('figures').replaceChildren(...[
    keyFigures(stats),
    el('div', { class: 'wide' }, columns(t('figures.per-hour'), perHour, { every: Math.max(1, Math.ceil(perHour.length / 12)) })),
    perCent.length ? rows(t('figures.pickup'), perCent.map((name) => ({ label: t(`figures.${name}`), value: latency[name], text: milliseconds(latency[name]) }))) : null,
    outcomes.length ? rows(t('figures.outcomes'), outcomes.map(([name, count]) => ({ label: outcome(name), value: count }))) : null,
  ].filter(Boolean));
}

function keyFigures(stats) {
  const figures = [
    ['sessions', stats.sessions, number], ['abandonment', stats.abandonment, percent],
    ['utilisation', stats.utilisation, percent], ['median', stats.durations_s?.p50, (seconds) => duration(seconds * 1000)],
  ].filter(([, value]) => typeof value === 'number');
  return figures.length ? el('dl', { class: 'key-figures wide' }, figures.map(([name, value, format]) => el('div', {}, el('dt', {}, t(`figures.${name}`)), el('dd', {}, format(value))))) : null;
}

const outcome = (name) => (knows(`reason.${name}`) ? t(`reason.${name}`) : knows(`status.${name}`) ? t(`status.${name}`) : name);
const milliseconds = (value) => (value < 1000 ? number(Math.round(value), { style: 'unit', unit: 'millisecond' }) : number(value / 1000, { style: 'unit', unit: 'second', maximumFractionDigits: 1 }));
