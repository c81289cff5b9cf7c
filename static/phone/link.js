// From whatever a picture says to the code in it: the universal link, the bare code, or the JWT.

const CODE = /^[0-9A-Z]{20,64}$/i;
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** The code in a scanned or pasted text, or null where it is none of ours. The server decides whether it is any good. */
export function codeIn(text) {
  const trimmed = text.trim();
  if (CODE.test(trimmed) || JWT.test(trimmed)) return trimmed;
  const fragment = /^https?:\/\/[^\s#]+\/s#(\S+)$/i.exec(trimmed)?.[1];
  return fragment && (CODE.test(fragment) || JWT.test(fragment)) ? fragment : null;
}

/** The code this page was opened with. It leaves the address and the history at once, before anything else happens. */
export function takeFromAddress() {
  const code = codeIn(decodeURIComponent(location.hash.slice(1)));
  if (location.hash) history.replaceState(history.state, '', location.pathname + location.search);
  return code;
}
