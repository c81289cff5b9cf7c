// Every action asks first. One dialog element serves them all; what is in it is built anew each time.

import { byId, el, whileBusy } from '/static/shared/dom.js';
import { t } from '/static/shared/i18n.js';

/** Shows a dialog with a heading and these parts; closes on Escape and by its own button. */
export function open(title, ...parts) {
  const dialog = byId('dialog');
  dialog.replaceChildren(el('div', { class: 'stack' }, el('h2', { id: 'dialog-title' }, title), ...parts));
  if (!dialog.open) dialog.showModal();
  return dialog;
}

export const close = () => byId('dialog').close();
export const closer = (text = t('close')) => el('button', { class: 'button', type: 'button', onclick: close }, text);

/**
 * Asks, does, and says why it did not work. `fields` are `{ name, label, value, required, hint }`;
 * `act` gets their values by name and may give back a node to show in place of closing.
 */
export function ask({ title, text, fields = [], go, danger = false, act }) {
  const inputs = fields.map((field) => el('input', { class: 'input', id: `ask-${field.name}`, name: field.name, value: field.value ?? '', required: field.required, maxlength: 200, autocomplete: 'off', dir: field.dir }));
  const problem = el('p', { class: 'note stop', role: 'alert', hidden: true });
  const button = el('button', { class: `button grow ${danger ? 'stop' : 'act'}` }, go);
  const submit = async (event) => {
    event.preventDefault();
    const empty = inputs.find((input) => input.required && !input.value.trim());
    if (empty) {
      empty.setAttribute('aria-invalid', 'true');
      empty.focus();
      return complain(problem, t('ask.required'));
    }
    return whileBusy(button, async () => {
      try {
        const shown = await act(Object.fromEntries(inputs.map((input) => [input.name, input.value.trim()])));
        if (shown) open(title, shown, closer());
        else close();
      } catch (refused) {
        complain(problem, refused.text ?? String(refused));
      }
    });
  };
  open(title, el('form', { class: 'stack', novalidate: true, onsubmit: submit },
    text ? el('p', {}, text) : null,
    fields.map((field, at) => el('div', { class: 'field' }, el('label', { for: `ask-${field.name}` }, field.label), inputs[at], field.hint ? el('span', { class: 'hint' }, field.hint) : null)),
    problem, el('div', { class: 'row' }, button, closer(t('cancel')))));
}

function complain(problem, text) {
  problem.hidden = false;
  problem.textContent = text;
}
