// What the cart's screen shows, as a function of what it was told. No clock, no network, no page: frames in, state out.

export const START = { view: 'boot', cartStatus: null, session: null, receipt: null, ending: null, idle: false };

const OPEN = new Set(['active', 'fetched']);

/** The state after one frame of the cart's stream. */
export function next(state, frame) {
  switch (frame.event_type ?? frame.type) {
    case 'connection': return greeted(state, frame);
    case 'session-started': return started(state, frame);
    case 'cart-status': return state.session || saysGoodbye(state) ? { ...state, cartStatus: afterwards(frame.status) } : free(state, frame.status);
    default: return concerns(state, frame) ? during(state, frame) : state;
  }
}

/** After the goodbye, or with nothing else to show: the code, or why there is none. */
export function free(state, status = state.cartStatus) {
  const cartStatus = status ?? 'available';
  return { ...START, cartStatus, view: cartStatus === 'available' ? 'ready' : 'unavailable' };
}

function greeted(state, { status, session }) {
  if (session && OPEN.has(session.status)) {
    const known = state.session?.id === session.session_id ? state.session : {};
    return shopping({ ...state, cartStatus: status }, {
      ...known, id: session.session_id, label: session.cart_label ?? known.label,
      status: session.status, startedAt: session.created_at, checkCode: session.check_code ?? known.checkCode,
    }, session.phase);
  }
  if (state.session) return ended({ ...state, cartStatus: status }, 'done');
  return saysGoodbye(state) ? { ...state, cartStatus: status } : free(state, status);
}

function started(state, frame) {
  const known = state.session?.id === frame.session_id ? state.session : {};
  return shopping(state, {
    ...known, id: frame.session_id, status: frame.status ?? known.status, name: frame.display_name ?? known.name,
    checkCode: frame.check_code ?? known.checkCode, label: frame.cart_label ?? known.label,
    startedAt: known.startedAt ?? frame.created_at ?? frame.updated_at,
  }, frame.phase ?? (known.id ? undefined : 'shopping'));
}

function during(state, frame) {
  switch (frame.event_type) {
    case 'session-fetched': return { ...state, session: { ...state.session, status: 'fetched' } };
    case 'session-idle-warning': return { ...state, idle: true };
    case 'session-resumed': return { ...state, view: 'shopping', idle: false };
    case 'checkout-started': return { ...state, view: 'checkout', idle: false };
    case 'checkout-failed': return { ...state, view: 'shopping' };
    case 'checkout-completed': return { ...state, view: 'receipt', session: null, idle: false, receipt: frame.receipt ?? null };
    case 'session-expired': return ended(state, 'expired');
    case 'session-transferred': return transferred(state, frame);
    case 'session-ended': return ended(state, frame.reason === 'released_at_cart' ? 'released' : 'done');
    default: return frame.phase ? shopping(state, state.session, frame.phase) : state;
  }
}

/** The session is on another cart: it has left this one, or never came, because this screen was too late to take it. */
function transferred(state, { cart_id: here, to_cart_id: there }) {
  if (there !== undefined && String(there) === String(here)) return state;
  return ended(state, state.session.status === 'fetched' ? 'moved' : 'stayed');
}

function shopping(state, session, phase) {
  const view = phase === 'checkout' || (phase === undefined && state.view === 'checkout') ? 'checkout' : 'shopping';
  const idle = phase === undefined ? state.idle : phase === 'idle_warning';
  return { ...START, cartStatus: afterwards(state.cartStatus), session, view, idle };
}

// While it is in use by us, "in use" says nothing about what comes after.
const afterwards = (status) => (status === 'in use' ? 'available' : status);
const ended = (state, ending) => ({ ...START, cartStatus: state.cartStatus, view: 'ended', ending });
const concerns = (state, frame) => state.session !== null && frame.session_id === state.session.id;
export const saysGoodbye = (state) => state.view === 'receipt' || state.view === 'ended';
