// The server under test: the real program as a process of its own, on ports the system chooses, in a folder of its own.

import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import net from 'node:net';
import { fileURLToPath } from 'node:url';

const BINARY = process.env.CARTLINK_BIN ?? fileURLToPath(new URL('../../../target/debug/cartlink', import.meta.url));
const PATIENCE = 120_000;

// Tests reload pages faster than people do, and on a busy machine film a code for longer than it lives in a store.
const HURRY = { '--limit-mints': '1000/1s', '--qr-ttl': '10m', '--qr-refresh': '9m' };

export class Server {
  #folder; #options; #process = null; #log = '';

  /** Starts `cartlink demo` and waits until it is ready. `options` are further flags. */
  static async start(options = []) {
    const server = new Server();
    server.#folder = await mkdtemp(join(tmpdir(), 'cartlink-browser-'));
    server.#options = [...Object.entries(HURRY).filter(([flag]) => !options.includes(flag)).flat(), ...options];
    await server.#spawn(`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`);
    server.demo = JSON.parse(await readFile(join(server.#folder, 'data', 'demo.json'), 'utf8'));
    return server;
  }

  async #spawn(bind, control) {
    const ports = join(this.#folder, 'ports');
    await rm(ports, { force: true });
    const flags = ['demo', '--bind', bind, '--bindctl', control, '--data', join(this.#folder, 'data'), '--ports-file', ports, ...this.#options];
    this.#process = spawn(BINARY, flags, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#process.stdout, this.#process.stderr]) stream.on('data', (text) => { this.#log = (this.#log + text).slice(-8_000); });
    const [address, controlAddress] = await this.#ports(ports);
    this.address = address;
    this.controlAddress = controlAddress;
    this.url = `${this.#options.some((option) => option.startsWith('--lan')) ? 'https' : 'http'}://${address}`;
    await this.#ready();
  }

  async #ports(file) {
    return await until(async () => {
      if (this.#process.exitCode !== null) throw new Error(`${BINARY} stopped at once:\n${this.#log}`);
      return (await readFile(file, 'utf8').catch(() => '')).trim().split('\n').filter(Boolean);
    }, (ports) => ports.length === 2, 'its ports');
  }

  async #ready() {
    // The control listener speaks plain http whatever the public one does, and is there when that is.
    await until(() => fetch(`http://${this.controlAddress}/readyz`).then((answer) => answer.ok, () => false), Boolean, 'it to be ready');
  }

  /** Kills it the hard way; the port stays free for `revive`. */
  async kill() {
    this.#process.kill('SIGKILL');
    await once(this.#process, 'exit');
  }

  /** The same store on the same ports, as after a crash. */
  async revive() {
    await this.#spawn(this.address, this.controlAddress);
  }

  async stop() {
    if (this.#process.exitCode === null && this.#process.signalCode === null) await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** A port below those that the system gives to clients: a server that is killed finds it free again. */
async function freePort() {
  for (;;) {
    const port = 30_000 + Math.floor(Math.random() * 2_700);
    const probe = net.createServer().listen(port, '127.0.0.1');
    const free = await new Promise((resolve) => { probe.on('listening', () => resolve(true)).on('error', () => resolve(false)); });
    probe.close();
    if (free) return port;
  }
}

/** Asks until the answer is as wanted: a state is waited for, never a while. */
export async function until(ask, wanted = Boolean, what = 'that', patience = PATIENCE) {
  const end = Date.now() + patience;
  for (;;) {
    const answer = await ask();
    if (wanted(answer)) return answer;
    if (Date.now() > end) throw new Error(`waited ${patience / 1000} s in vain for ${what}; the last answer was ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
