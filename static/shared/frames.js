// Reads a `text/event-stream` body by the WHATWG rules: lines end in LF, CR or CRLF, comments are only signs of life.

/** Yields `{ data, id, retry }` per event; `onLife` is called for every chunk, comments included. */
export async function* frames(body, onLife) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const lines = new Lines();
  let event = blank();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onLife();
      for (const line of lines.feed(decoder.decode(value, { stream: true }))) {
        if (line !== '') {
          take(event, line);
        } else {
          if (event.data !== null || event.retry !== null || event.id !== null) yield event;
          event = blank();
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

const blank = () => ({ data: null, id: null, retry: null });

function take(event, line) {
  const colon = line.indexOf(':');
  if (colon === 0) return;
  const field = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
  if (field === 'data') event.data = event.data === null ? value : `${event.data}\n${value}`;
  else if (field === 'id' && !value.includes('\0')) event.id = value;
  else if (field === 'retry' && /^\d+$/.test(value)) event.retry = Number(value);
}

class Lines {
  #rest = '';
  #afterCarriageReturn = false;

  /** Whole lines of what has come so far. A CR at the end of a chunk ends its line now; a LF that follows belongs to it. */
  feed(text) {
    if (this.#afterCarriageReturn && text.startsWith('\n')) text = text.slice(1);
    if (text !== '') this.#afterCarriageReturn = text.endsWith('\r');
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop();
    return lines;
  }
}
