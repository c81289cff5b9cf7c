// Other people's event-stream clients, one scripted run: odd frames, cut links, a crash and a stop of the server in the
// middle. Every client must end with the identical list of (id, data).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { corpus } from './corpus.mjs';
import { Link } from './link.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const target = path.join(here, '../../target/debug');
const program = process.env.CARTLINK_BIN ?? path.join(target, 'cartlink');
const python = path.join(here, '.venv/bin/python');
const script = (name) => path.join(here, 'followers', name);

const followers = {
  'eventsource': ['node', script('eventsource.mjs')],
  'eventsource-client': ['node', script('eventsource-client.mjs')],
  'httpx-sse': [python, script('with_httpx.py')],
  'sseclient-py': [python, script('with_requests.py')],
  'curl': ['node', script('curl.mjs')],
  'rust-eventsource-client': [path.join(target, 'cartlink-client')],
};
const names = [...Object.keys(followers), 'chromium'];

const heard = Object.fromEntries(names.map((name) => [name, []]));
const expected = [];
const children = new Set();
const folder = await mkdtemp(path.join(os.tmpdir(), 'cartlink-clients-'));

// Below the ports that the system gives to clients: the server loses it and takes it again.
const freePort = () => new Promise((resolve) => {
  const probe = net.createServer();
  const tried = 30_000 + Math.floor(Math.random() * 2_700);
  probe.on('error', () => resolve(freePort()));
  probe.listen(tried, '127.0.0.1', () => probe.close(() => resolve(tried)));
});

function hear(name, line) {
  const event = JSON.parse(line);
  if (isHistory(event)) heard[name].push(event);
}

function start(command, args, options) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], ...options });
  children.add(child);
  child.on('exit', () => children.delete(child));
  return child;
}

async function until(what, done, seconds = 240) {
  const deadline = Date.now() + seconds * 1000;
  while (!(await done())) {
    if (Date.now() > deadline) throw new Error(`waited ${seconds} s for ${what}`);
    await pause(20);
  }
}

const [port, control] = [await freePort(), await freePort()];
const secret = 'thirty-two bytes for subscribers';
const answers = (url) => fetch(url).then(() => true, () => false);

async function serve() {
  const args = ['serve', '--bind', `127.0.0.1:${port}`, '--bindctl', `127.0.0.1:${control}`, '--secret', secret, '--data', folder, '--drain', '1s', '--log', 'error'];
  const server = start(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  await until('the server', () => answers(`http://127.0.0.1:${port}/livez`));
  return server;
}

async function stop(server, signal) {
  const gone = new Promise((resolve) => { server.on('exit', resolve); });
  server.kill(signal);
  await gone;
}

async function emit({ payload, data }) {
  const body = new URLSearchParams({ userId: 'someone', channel: 'matrix', payload });
  const answer = await fetch(`http://127.0.0.1:${control}/emit/`, { method: 'POST', body });
  assert.equal(answer.status, 200, `emit ${JSON.stringify(payload)}: ${await answer.text()}`);
  const [epoch, last] = answer.headers.get('event-id').split('.');
  data.forEach((text, at) => expected.push({ id: `${epoch}.${Number(last) - data.length + 1 + at}`, data: text }));
}

async function emitAll(events) {
  for (const event of events) await emit(event);
}

// A server that is stopping tells whoever comes too early so, in a frame that is not history and bears no id.
const isHistory = ({ data }) => !data.startsWith('{"code":"unavailable"');

const plain = (...texts) => texts.map((text) => ({ payload: `data: ${text}\n\n`, data: [text] }));

const page = await readFile(script('chromium.html'));
const link = new Link(port, (request, response) => {
  // The next request on this connection may be the stream, which is not ours to answer.
  response.setHeader('connection', 'close');
  if (request.method === 'POST') {
    let body = '';
    request.setEncoding('utf8').on('data', (piece) => { body += piece; }).on('end', () => {
      hear('chromium', body);
      response.end();
    });
  } else {
    response.setHeader('content-type', 'text/html; charset=utf-8').end(page);
  }
});
const address = `http://127.0.0.1:${await link.listen()}`;

function follow(token) {
  for (const [name, [command, ...args]] of Object.entries(followers)) {
    const child = start(command, [...args, `${address}/events/?client=${name}`, token]);
    createInterface({ input: child.stdout }).on('line', (line) => hear(name, line));
  }
  const stream = encodeURIComponent(`/events/?client=chromium&token=${token}`);
  const flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking', `--user-data-dir=${folder}/chromium`];
  start(process.env.CHROMIUM ?? 'chromium', [...flags, `${address}/follower?stream=${stream}`], { stdio: 'ignore' });
}

const missing = () => names.filter((name) => !link.live().has(name));
const everybody = (what) => until(`every client to be connected ${what}`, () => missing().length === 0).catch((error) => { throw new Error(`${error.message}; missing: ${missing().join(', ')}`); });
const caughtUp = () => until('every client to catch up', () => names.every((name) => heard[name].length >= expected.length));

async function run() {
  let server = await serve();
  const form = new URLSearchParams({ userId: 'someone', channel: 'matrix', exp: '600' });
  const token = await fetch(`http://127.0.0.1:${control}/token/`, { method: 'POST', body: form }).then((answer) => answer.text());
  follow(token);
  await everybody('at first');
  await emitAll(corpus);
  await caughtUp();

  console.log('cut in the middle of a frame');
  link.cutAfter(12);
  await emitAll(plain('cut in the middle', 'right behind the cut'));
  await everybody('after the cut');
  await caughtUp();

  console.log('cut for a while');
  link.down = true;
  link.cut();
  await emitAll(corpus);
  link.down = false;
  await everybody('after the silence');
  await caughtUp();

  console.log('kill -9');
  await emitAll(plain('written down just before the crash'));
  await stop(server, 'SIGKILL');
  server = await serve();
  await emitAll(plain('told before anybody is back'));
  await everybody('after the crash');
  await caughtUp();

  console.log('an ordinary restart');
  await stop(server, 'SIGTERM');
  server = await serve();
  await emitAll(plain('after the restart'));
  await everybody('after the restart');
  await emitAll(plain('the end'));
  await caughtUp();
}

let failure = await run().then(() => null, (error) => error);
for (const name of names) {
  try {
    assert.ok(expected.length > 0, 'nothing was published');
    assert.deepEqual(heard[name], expected);
    console.log(`ok      ${name}: ${heard[name].length} events`);
  } catch (error) {
    failure ??= error;
    const at = expected.findIndex((event, index) => JSON.stringify(event) !== JSON.stringify(heard[name][index]));
    const brief = (event) => JSON.stringify(event)?.slice(0, 200);
    console.log(`FAILED  ${name}: ${heard[name].length} of ${expected.length} events, the first difference is number ${at}:\n  expected ${brief(expected[at])}\n  heard    ${brief(heard[name][at])}`);
  }
}
if (failure) console.log(failure.message);
link.close();
for (const child of children) child.kill('SIGKILL');
await rm(folder, { recursive: true, force: true, maxRetries: 5 });
process.exit(failure ? 1 : 0);
