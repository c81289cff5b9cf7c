// A TCP proxy of our own that can cut: at once, in the middle of what comes next, or for a while.
import http from 'node:http';
import net from 'node:net';

export class Link {
  #pairs = new Set();
  #upstream;
  #pages;
  #server;
  down = false;

  // `pages` answers what starts with /follower itself: the page that Chromium follows from.
  constructor(upstream, pages) {
    this.#upstream = upstream;
    this.#pages = http.createServer(pages);
    this.#server = net.createServer((client) => this.#accept(client));
  }

  async listen() {
    for (const server of [this.#pages, this.#server]) {
      await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
    }
    return this.#server.address().port;
  }

  // The clients, by the name in their request, that have been answered and are still connected.
  live() {
    return new Set([...this.#pairs].filter((pair) => pair.answered).map((pair) => pair.name));
  }

  cut() {
    for (const pair of this.#pairs) pair.close();
  }

  // Lets `bytes` more pass on each connection, then cuts it.
  cutAfter(bytes) {
    for (const pair of this.#pairs) pair.left = bytes;
  }

  close() {
    this.cut();
    this.#server.close();
    this.#pages.close();
  }

  #accept(client) {
    client.on('error', () => {});
    if (this.down) return client.destroy();
    client.once('data', (first) => {
      client.pause();
      const name = first.toString('latin1').split('\r\n', 1)[0];
      client.unshift(first);
      const port = / \/follower/.test(name) ? this.#pages.address()?.port : this.#upstream;
      this.#pass(client, port, name.match(/client=([\w-]+)&?/)?.[1]);
    });
  }

  #pass(client, port, name) {
    const server = net.connect(port, '127.0.0.1');
    const pair = { name, answered: false, left: Infinity, close: () => { client.destroy(); server.destroy(); this.#pairs.delete(pair); } };
    this.#pairs.add(pair);
    client.pipe(server);
    server.on('data', (bytes) => {
      pair.answered = true;
      client.write(bytes.subarray(0, pair.left));
      pair.left -= bytes.length;
      if (pair.left <= 0) setImmediate(pair.close);
    });
    server.on('error', pair.close).on('close', () => client.destroySoon());
    client.on('error', pair.close).on('close', pair.close);
  }
}
