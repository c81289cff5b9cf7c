// How a session's cart is called on this page.

import { t } from '/static/shared/i18n.js';

/** A label that is a bare number wants its noun; "Cart 12" does not. */
export function cartName({ cart_label: label, cart_id: id }) {
  const name = String(label ?? id ?? '');
  return /^\d+$/.test(name) ? t('live.label', { label: name }) : name;
}
