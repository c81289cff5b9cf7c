// One view at a time. The phone's own "back" leads home from the views that are opened from there.

import { byId } from '/static/shared/dom.js';

const sections = document.querySelectorAll('main > [data-view]');
const OPENED = new Set(['camera', 'no-camera', 'past', 'receipt-of']);
let leave = () => {};
let drawn = () => {};

export const showing = () => document.body.dataset.view;

/**
 * Shows a view and moves the focus to its heading, so that screen readers start there. `onLeave` runs when it goes; `draw`
 * writes what is in it, now and in another language.
 */
export function show(view, { onLeave = () => {}, draw = () => {}, quiet = false } = {}) {
  leave();
  leave = onLeave;
  drawn = draw;
  draw();
  for (const section of sections) section.hidden = section.dataset.view !== view;
  document.body.dataset.view = view;
  byId('back').hidden = view !== 'past';
  if (OPENED.has(view) && !history.state?.opened) history.pushState({ opened: true }, '');
  if (!quiet) document.querySelector(`section[data-view="${view}"] h1`)?.focus({ preventScroll: true });
  scrollTo(0, 0);
}

/** The language has changed. */
export const redraw = () => drawn();

/** Calls `home` when somebody goes back. */
export function onBack(home) {
  addEventListener('popstate', home);
  byId('back').onclick = () => history.back();
}

/** Leaves an opened view the way "back" does, so that no stale entry stays in the history. */
export function close(home) {
  if (history.state?.opened) history.back();
  else home();
}

export function complain(id, text) {
  const place = byId(id);
  place.hidden = !text;
  place.textContent = text;
}
