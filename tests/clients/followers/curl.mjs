// `curl -N` in a loop that passes the last id. What curl prints is cut into events here, by the book of WHATWG.
import { spawn } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';

const [url, token] = process.argv.slice(2);
let lastId = '';

async function follow() {
  const resume = lastId ? ['-H', `Last-Event-ID: ${lastId}`] : [];
  const curl = spawn('curl', ['-sN', '-H', `Authorization: Bearer ${token}`, '-H', 'Accept: text/event-stream', ...resume, url]);
  const text = new TextDecoder();
  let rest = '';
  let event = { data: null, id: lastId };
  for await (const bytes of curl.stdout) {
    const lines = (rest + text.decode(bytes, { stream: true })).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      const [, name, value] = line.match(/^([^:]*):? ?(.*)$/s);
      if (line === '') {
        lastId = event.id;
        if (event.data !== null) {
          process.stdout.write(`${JSON.stringify({ id: lastId, data: event.data })}\n`);
          if (event.data === 'the end') process.exit(0);
        }
        event = { data: null, id: lastId };
      } else if (name === 'data') {
        event.data = event.data === null ? value : `${event.data}\n${value}`;
      } else if (name === 'id') {
        event.id = value;
      }
    }
  }
}

for (;;) {
  await follow();
  await pause(500);
}
