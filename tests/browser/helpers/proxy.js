// A proxy between the pages and the server that can fail the way networks do: answer 502, cut every
// connection, or swallow everything without a word.

import http from 'node:http';
import { once } from 'node:events';

export class Proxy {
  #sockets = new Set();
  broken = false;
  #swallowing = null;
  #deliver = () => {};
  requests = [];
  #open = new Map();

  static async before(server) {
    const proxy = new Proxy();
    proxy.listener = http.createServer((request, answer) => proxy.#pass(request, answer, server.address));
    proxy.listener.on('connection', (socket) => {
      proxy.#sockets.add(socket);
      socket.on('close', () => proxy.#sockets.delete(socket));
    });
    proxy.listener.listen(0, '127.0.0.1');
    await once(proxy.listener, 'listening');
    proxy.url = `http://127.0.0.1:${proxy.listener.address().port}`;
    proxy.demo = server.demo;
    return proxy;
  }

  async #pass(request, answer, address) {
    this.requests.push({ path: request.url, at: Date.now() });
    await this.#swallowing;
    if (this.broken) {
      answer.writeHead(502, { 'Content-Type': 'text/html' });
      answer.end('<h1>502 Bad Gateway</h1>');
      return;
    }
    const [host, port] = address.split(':');
    // The Origin the browser sends names the proxy; behind a real one the server is told its public address.
    const headers = { ...request.headers, host: address, ...(request.headers.origin ? { origin: `http://${address}` } : {}) };
    const onward = http.request({ host, port, path: request.url, method: request.method, headers }, (back) => {
      answer.writeHead(back.statusCode, back.headers);
      this.#flow(back, answer).catch(() => answer.destroy());
    });
    onward.on('error', () => { answer.writeHead(502); answer.end(); });
    answer.on('close', () => onward.destroy());
    request.pipe(onward);
    this.#open.set(answer, request.url);
    answer.on('close', () => this.#open.delete(answer));
  }

  /** Hands on what comes back, as long as anything passes. */
  async #flow(back, answer) {
    for await (const part of back) {
      await this.#swallowing;
      if (!answer.write(part)) await once(answer, 'drain').catch(() => {});
    }
    answer.end();
  }

  /** From now on nothing passes either way, and nobody is told: a Wi-Fi that is up and leads nowhere. */
  swallow() {
    this.#swallowing = new Promise((resolve) => { this.#deliver = resolve; });
  }

  deliver() {
    this.#swallowing = null;
    this.#deliver();
  }

  /** How many answers to requests that start like this are still being sent. */
  open(start) {
    return [...this.#open.values()].filter((path) => path.startsWith(start)).length;
  }

  /** Open connections are cut, as when the proxy is restarted. */
  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  breakDown() {
    this.broken = true;
    this.cut();
  }

  heal() {
    this.broken = false;
  }

  async stop() {
    this.cut();
    this.listener.close();
    await once(this.listener, 'close');
  }
}
