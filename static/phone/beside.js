// Inside the demo page only: a code scanned "beside" arrives as a message of the same origin, as if the camera had seen it.

import { codeIn } from './link.js';

export function listen({ bind, live }) {
  addEventListener('message', ({ origin, source, data }) => {
    if (origin !== location.origin || source !== window.parent) return;
    if (data?.kind === 'basket') live.basket = data.basket;
    const code = data?.kind === 'scan' && codeIn(String(data.text));
    if (code) bind(code);
  });
  window.parent.postMessage({ kind: 'ready' }, location.origin);
}
