// npm `eventsource-client`: a fetch-based client that names its events itself.
import { createEventSource } from 'eventsource-client';

const [url, token] = process.argv.slice(2);
const source = createEventSource({
  url,
  headers: { authorization: `Bearer ${token}` },
  onMessage({ id, data }) {
    process.stdout.write(`${JSON.stringify({ id, data })}\n`);
    if (data === 'the end') source.close();
  },
});
