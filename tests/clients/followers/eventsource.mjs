// npm `eventsource`: a native-like EventSource; the credential goes in a header through its fetch hook.
import { EventSource } from 'eventsource';

const [url, token] = process.argv.slice(2);
const source = new EventSource(url, {
  fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } }),
});
const hear = (event) => {
  process.stdout.write(`${JSON.stringify({ id: event.lastEventId, data: event.data })}\n`);
  if (event.data === 'the end') source.close();
};
source.onmessage = hear;
source.addEventListener('item', hear);
