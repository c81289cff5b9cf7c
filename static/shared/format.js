// Numbers, money and time in the reader's language, by `Intl` alone.

import { language } from './i18n.js';

/** Minor units and a currency: 1234 EUR is 12.34 €, 1234 JPY is 1,234 ¥. */
export function money(minor, currency) {
  const format = new Intl.NumberFormat(language(), { style: 'currency', currency });
  return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
}

/** Making a format costs a hundred times what using it does, and a floor of carts shows a number in every tile. */
const formats = new Map();

export function number(value, options) {
  const key = `${language()} ${options ? JSON.stringify(options) : ''}`;
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(language(), options));
  return formats.get(key).format(value);
}

export const percent = (share) => number(share, { style: 'percent', maximumFractionDigits: 1 });

/** A time of day and, further away, the date too. */
export function when(instant) {
  const date = new Date(instant);
  if (Number.isNaN(date.getTime())) return '';
  const today = new Date().toDateString() === date.toDateString();
  return new Intl.DateTimeFormat(language(), today ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' }).format(date);
}

/** A running time, 4:05 or 1:02:03, in the language's own digits. */
export function elapsed(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  const two = (value) => number(value, { minimumIntegerDigits: 2 });
  const parts = [Math.floor(seconds / 60) % 60, seconds % 60];
  const hours = Math.floor(seconds / 3600);
  return hours ? `${number(hours)}:${two(parts[0])}:${two(parts[1])}` : `${number(parts[0])}:${two(parts[1])}`;
}

/** A length in words for those who listen and for lists: "4 min", "1 hr, 2 min". */
export function duration(milliseconds) {
  const minutes = Math.floor(milliseconds / 60_000);
  const unit = (value, name) => number(value, { style: 'unit', unit: name, unitDisplay: 'short' });
  if (minutes < 1) return unit(Math.floor(milliseconds / 1000), 'second');
  if (minutes < 60) return unit(minutes, 'minute');
  return `${unit(Math.floor(minutes / 60), 'hour')} ${unit(minutes % 60, 'minute')}`;
}
