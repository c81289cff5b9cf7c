// Draws the reference: every route by group, with what it takes and gives.

import { byId, el } from '/static/shared/dom.js';
import { fieldsOf, typeOf } from './schema.js';

const METHODS = ['get', 'post', 'patch', 'put', 'delete'];

try {
  const answer = await fetch('/openapi.json');
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  draw(await answer.json());
} catch (failure) {
  byId('problem').hidden = false;
  byId('problem').textContent = `The description could not be read: ${failure.message}. Reload the page.`;
}
byId('main').removeAttribute('aria-busy');

function draw(api) {
  byId('title').textContent = `${api.info.title} API ${api.info.version}`;
  byId('about').textContent = api.info.description ?? '';
  const groups = grouped(api);
  byId('groups').replaceChildren(...[...groups.keys()].map((name) => el('li', {}, el('a', { href: `#${name}` }, name))));
  byId('routes').replaceChildren(...[...groups].map(([name, routes]) => el('section', { class: 'stack tight', id: name, 'aria-label': name }, el('h2', {}, name), routes.map((route) => fold(route, api)))));
  byId('find').oninput = () => sift(byId('find').value.trim().toLowerCase());
}

function grouped(api) {
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const group = item[method].tags?.[0] ?? 'other';
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push({ path, method, ...item[method] });
    }
  }
  return groups;
}

function fold(route, api) {
  const body = Object.entries(route.requestBody?.content ?? {})[0];
  return el('details', { class: 'route', 'data-method': route.method, 'data-words': `${route.method} ${route.path} ${route.summary ?? ''}`.toLowerCase() },
    el('summary', {}, el('span', { class: 'method' }, route.method.toUpperCase()), el('code', {}, route.path), el('span', { class: 'small quiet-text' }, prose(firstLine(route)))),
    el('div', { class: 'body' },
      route.description ? el('p', {}, prose(route.description)) : null,
      table('Parameters', (route.parameters ?? []).map((one) => [el('code', {}, one.name), `${one.in}, ${typeOf(one.schema, api)}${one.required ? '' : ', optional'}`, prose(one.description ?? '')])),
      body ? table(`Body, ${body[0]}`, fieldRows(body[1].schema, api)) : null,
      Object.entries(route.responses ?? {}).map(([status, answer]) => response(status, answer, api))));
}

function firstLine({ summary, description }) {
  const said = summary ?? description?.split('\n')[0] ?? '';
  return said.replace(/^`[A-Z]+ [^`]+`[.:]?\s*/, ''); // it stands right before it
}

/** What is written between backticks is code. */
function prose(text) {
  return text.split('`').map((part, at) => (at % 2 ? el('code', {}, part) : part));
}

function response(status, answer, api) {
  const [type, content] = Object.entries(answer.content ?? {})[0] ?? [];
  const title = [status, answer.description, type].filter(Boolean).join(' · ');
  return table(title, content ? fieldRows(content.schema, api) : []) ?? el('h3', {}, title);
}

function fieldRows(schema, api) {
  return fieldsOf(schema, api).map(({ name, type, text, required }) => [el('code', {}, name), required ? type : `${type}, optional`, prose(text)]);
}

function table(title, rows) {
  if (rows.length === 0) return null;
  return el('div', {}, el('h3', {}, title), el('table', {}, el('tbody', {}, rows.map(([name, ...cells]) => el('tr', {}, el('th', { scope: 'row' }, name), cells.map((cell) => el('td', {}, cell)))))));
}

function sift(words) {
  for (const route of document.querySelectorAll('.route')) route.hidden = !route.dataset.words.includes(words);
  for (const group of byId('routes').children) group.hidden = !group.querySelector('.route:not([hidden])');
}
