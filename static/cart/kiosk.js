// A screen on a cart is not a browser: it stays awake and shows no menus.

export function behaveAsKiosk() {
  for (const name of ['contextmenu', 'dragstart', 'selectstart']) {
    document.addEventListener(name, (event) => event.target.closest?.('input') || event.preventDefault());
  }
  stayAwake();
  document.addEventListener('visibilitychange', stayAwake);
}

async function stayAwake() {
  if (document.visibilityState !== 'visible' || !navigator.wakeLock) return;
  // Refused while the battery is saved or the page is not active; the next time it becomes visible asks again.
  await navigator.wakeLock.request('screen').catch(() => {});
}
