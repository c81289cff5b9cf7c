// The one place that talks to the server: a fetch with a time-out whose every failure is a `Refusal` in plain words.

import { learnServerTime } from './clock.js';
import { knows, t } from './i18n.js';

/** What the server (or the way to it) refused, with the stable `code` of its problem+json. */
export class Refusal extends Error {
  constructor(code, { status = 0, problem = {}, retryAfter = null } = {}) {
    super(problem.detail ?? code);
    this.code = code;
    this.status = status;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }

  /** Neither yes nor no: it did not arrive, or the server is not itself just now. Worth another try. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }

  /** A sentence for people that says what to do; the server's own words where we have none. */
  get text() {
    if (knows(`problem.${this.code}`)) return t(`problem.${this.code}`, { seconds: this.retryAfter ?? '' });
    if (this.status === 429) return t('problem.too-many');
    if (this.status >= 500) return t('problem.server');
    return this.problem.detail ?? t('problem.unknown');
  }
}

/**
 * Sends a request and gives `{ status, data, headers }`.
 * `json` or `form` is the body; `bearer` signs it; without one the cookie of the same origin speaks.
 */
export async function call(method, path, { json, form, bearer, headers = {}, accept = 'application/json', timeout = 10_000 } = {}) {
  const request = { method, headers: { Accept: accept, ...headers }, credentials: 'same-origin', cache: 'no-store', signal: AbortSignal.timeout(timeout) };
  if (bearer) request.headers.Authorization = `Bearer ${bearer}`;
  if (form) request.body = new URLSearchParams(form);
  if (json !== undefined) {
    request.headers['Content-Type'] = 'application/json';
    request.body = JSON.stringify(json);
  }
  const response = await reach(path, request);
  learnServerTime(response.headers.get('Date') ?? '');
  const data = response.status === 304 ? null : await read(response);
  if (!response.ok) throw refusal(response, data);
  return { status: response.status, data, headers: response.headers };
}

async function reach(path, request) {
  try {
    return await fetch(path, request);
  } catch (failure) {
    if (navigator.onLine === false) throw new Refusal('offline');
    throw new Refusal(failure.name === 'TimeoutError' ? 'timeout' : 'unreachable');
  }
}

async function read(response) {
  try {
    const text = await response.text();
    return /json/.test(response.headers.get('Content-Type') ?? '') && text ? JSON.parse(text) : text;
  } catch {
    throw new Refusal('unreachable');
  }
}

/** Turns any answer that is not a success into a `Refusal`. */
export function refusal(response, data) {
  const problem = data && typeof data === 'object' ? data : {};
  const wait = Number(response.headers.get('Retry-After'));
  return new Refusal(problem.code ?? `http-${response.status}`, { status: response.status, problem, retryAfter: wait || null });
}

/** A key under which the server does a thing once, however often we ask. `crypto.randomUUID` needs https; this does not. */
export function once() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
