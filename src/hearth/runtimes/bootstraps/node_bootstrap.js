// The first thing that runs in a Node.js function's sandbox: AWS's own client, over one socket.
//
// `aws-lambda-ric` does everything that a function can notice: handlers, errors, context, logging,
// response streams. Its transport is a native addon around libcurl with three functions; here they
// are in JavaScript, so that nothing has to be compiled for the Node that a machine happens to have.
//
// The socket keeps the process alive only while an event is waited for, as the addon does: a
// function whose event loop runs empty ends, and the client's beforeExit handler hears of it.
"use strict";

const fs = require("node:fs");
const Module = require("node:module");
const net = require("node:net");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

const ROOT = "/2018-06-01/runtime/invocation/";
const HEAD_END = Buffer.from("\r\n\r\n");

class Transport {
  constructor(address) {
    const colon = address.lastIndexOf(":");
    this.address = address;
    this.host = address.slice(0, colon);
    this.port = Number(address.slice(colon + 1));
    this.socket = null;
    this.chunks = [];
    this.size = 0;
    this.wanted = 0; // bytes of the answer, its head too; 0 while the head is not here
    this.head = null;
    this.waiting = null; // for the answer on the way
    this.before = Promise.resolve(); // the answer to what was sent last
  }

  // --- what the addon has

  next() {
    this.socket?.ref(); // from now on, not only when the answer to what was sent last is here
    const ask = () =>
      this.exchange(`GET ${ROOT}next HTTP/1.1\r\nHost: ${this.address}\r\n\r\n`, true);
    return this.before
      .then(() => {
        // A kept connection may have been closed before this came: then on a new one.
        const isKept = this.socket !== null;
        return ask().catch((error) => {
          if (isKept) {
            return ask();
          }
          throw error;
        });
      })
      .then(({ status, headers, body }) => {
        if (status !== 200) {
          throw new Error(`Failed to get next invocation, error ${status}`);
        }
        return { bodyJson: body.toString("utf8"), headers };
      });
  }

  done(id, body) {
    this.post(`${id}/response`, body, "");
  }

  error(id, body, xray) {
    // A header is Latin-1 on one line; what is not would be another header, or none.
    const cause = /^[\x20-\x7e]+$/.test(xray)
      ? `Lambda-Runtime-Function-XRay-Error-Cause: ${xray}\r\n`
      : "";
    this.post(`${id}/error`, body, cause);
  }

  // --- one kept-alive connection, one exchange at a time

  post(where, text, headers) {
    const body = Buffer.from(text, "utf8");
    const head =
      `POST ${ROOT}${where} HTTP/1.1\r\nHost: ${this.address}\r\n` +
      `Content-Type: application/json\r\n${headers}Content-Length: ${body.length}\r\n\r\n`;
    // What the platform says to it, the addon does not tell either. The bytes are written now:
    // the client may end the process in its next step.
    this.before = this.exchange(head, false, body).then(
      () => {},
      () => {},
    );
  }

  exchange(head, keepsAlive, body) {
    return new Promise((resolve, reject) => {
      const socket = this.socket ?? this.connect();
      this.waiting = { resolve, reject };
      if (keepsAlive) {
        socket.ref();
      }
      if (body === undefined || body.length === 0) {
        socket.write(head, "latin1");
      } else {
        socket.write(Buffer.concat([Buffer.from(head, "latin1"), body]));
      }
    });
  }

  connect() {
    const socket = net.connect({ host: this.host, port: this.port, noDelay: true });
    socket.unref();
    socket.on("data", (chunk) => this.receive(chunk));
    socket.on("error", (error) => this.lose(socket, error));
    socket.on("close", () => this.lose(socket, new Error("the Runtime API has closed")));
    this.socket = socket;
    return socket;
  }

  lose(socket, error) {
    if (this.socket !== socket) {
      return;
    }
    this.socket = null;
    this.chunks = [];
    this.size = this.wanted = 0;
    const waiting = this.waiting;
    this.waiting = null;
    if (waiting !== null) {
      waiting.reject(new Error(`Failed to get next invocation, error ${error.code ?? error.message}`));
    }
  }

  receive(chunk) {
    this.chunks.push(chunk);
    this.size += chunk.length;
    if (this.wanted === 0 && !this.readHead()) {
      return;
    }
    if (this.size < this.wanted) {
      return;
    }
    const all = Buffer.concat(this.chunks, this.size);
    const body = all.subarray(this.head.end, this.wanted);
    this.chunks = this.size > this.wanted ? [all.subarray(this.wanted)] : [];
    this.size -= this.wanted;
    this.wanted = 0;
    const waiting = this.waiting;
    this.waiting = null;
    this.socket.unref();
    waiting?.resolve({ status: this.head.status, headers: this.head.headers, body });
  }

  readHead() {
    const all = Buffer.concat(this.chunks, this.size);
    this.chunks = [all];
    const end = all.indexOf(HEAD_END);
    if (end < 0) {
      return false;
    }
    const [first, ...lines] = all.toString("latin1", 0, end).split("\r\n");
    const headers = {};
    for (const line of lines) {
      const colon = line.indexOf(":");
      headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
    }
    this.head = { status: Number(first.split(" ")[1]), headers, end: end + HEAD_END.length };
    this.wanted = this.head.end + Number(headers["content-length"] ?? 0);
    return true;
  }
}

// Answers require("./rapid-client.node") of AWS's client with our transport.
class Addon {
  constructor(directory) {
    this.transport = null; // when it is first needed: before that, nobody may know where the API is
    const name = path.join(directory, "rapid-client.node");
    const module = new Module(name, null);
    module.filename = name;
    module.exports = {
      next: () => this.current().next(),
      done: (id, body) => this.current().done(id, body),
      error: (id, body, xray) => this.current().error(id, body, xray),
    };
    module.loaded = true;
    Module._cache[name] = module;
  }

  current() {
    return (this.transport ??= new Transport(process.env.AWS_LAMBDA_RUNTIME_API));
  }
}

// --- waiting for a function: started before anybody knows for which

const WAIT = /^--wait=(\d+)$/;
const CLIENT_RUNS_ON_LOAD = 24; // the first Node whose client does its work when it is loaded
const ORDER_BYTES_MAX = 256 * 1024;

// Says that all is loaded, then blocks in one read: no timer and no thread of it runs meanwhile.
function receiveOrder(descriptor) {
  globalThis.gc?.();
  fs.writeSync(descriptor, "ready");
  const packet = Buffer.allocUnsafe(ORDER_BYTES_MAX);
  const size = fs.readSync(descriptor, packet, 0, ORDER_BYTES_MAX, null);
  fs.closeSync(descriptor);
  if (size === 0) {
    process.exit(1); // whoever launched us is gone
  }
  return JSON.parse(packet.toString("utf8", 0, size));
}

// Looks as if it had just been started with these.
function become({ environment, working_directory: directory }) {
  for (const name of Object.keys(process.env)) {
    if (!(name in environment)) {
      delete process.env[name];
    }
  }
  Object.assign(process.env, environment, { PWD: directory });
  process.chdir(directory);
  process.argv.length = 2;
}

// --- `import` looks where NODE_PATH says, as in Lambda since Node 18

const isOfPackage = (specifier) => !/^([./#]|[a-z][a-z0-9+.-]*:)/i.test(specifier);

// Where somebody would have to stand to find a package in each of NODE_PATH's folders.
function places() {
  const folders = (process.env.NODE_PATH ?? "").split(":");
  return folders
    .filter((folder) => folder.endsWith("/node_modules"))
    .map((folder) => pathToFileURL(path.join(folder, "..", "_")).href);
}

const isNotFound = (error) => error.code === "ERR_MODULE_NOT_FOUND";

// Costs nothing until an import finds nothing.
function resolve(specifier, context, next) {
  try {
    return next(specifier, context);
  } catch (error) {
    if (!isNotFound(error) || !isOfPackage(specifier)) {
      throw error;
    }
    for (const parentURL of places()) {
      try {
        return next(specifier, { ...context, parentURL });
      } catch (other) {
        if (!isNotFound(other)) {
          throw other;
        }
      }
    }
    throw error;
  }
}

// Node before 22.15 has such hooks only in a thread of their own, 65 ms of CPU away: for handlers
// that are modules, and may find something there.
function needsThread(task, handler) {
  const name = path.basename(handler);
  const file = path.join(task, path.dirname(handler), name.slice(0, name.indexOf(".")));
  const isModule = fs.existsSync(`${file}.mjs`) || typeOf(path.join(task, "package.json")) === "module";
  const packed = path.join(task, "node_modules/@aws-sdk");
  return isModule && (fs.existsSync("/opt/nodejs") || !fs.existsSync(packed));
}

function typeOf(file) {
  try {
    return JSON.parse(fs.readFileSync(file, "utf8")).type;
  } catch {
    return undefined; // none, or none that Node could read
  }
}

function lookOnPath(directory) {
  if (Module.registerHooks !== undefined) {
    Module.registerHooks({ resolve });
  } else if (needsThread(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER)) {
    Module.register(pathToFileURL(path.join(directory, "node_path.mjs")));
  }
}

const USUAL = ["async_hooks", "crypto", "events", "http", "https", "os", "stream", "url", "util"];
const REHEARSALS = 20;
const EVENT =
  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: 0\r\n" +
  "Lambda-Runtime-Deadline-Ms: 9999999999999\r\nLambda-Runtime-Invoked-Function-Arn: a\r\n" +
  'Lambda-Runtime-Trace-Id: t\r\nContent-Length: 30\r\n\r\n{"a": [1, 2.5, "x", null, {}]}';
const ACCEPTED = "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";

// Runs a handler that does nothing some times, over real sockets: what runs for the first time is
// compiled then, and that is most of what a first invoke costs.
async function rehearse(file, directory, addon) {
  let left = REHEARSALS;
  let finish;
  const finished = new Promise((resolve) => (finish = resolve));
  const server = net.createServer((socket) =>
    socket.on("data", (data) => {
      if (data[0] !== 0x47 /* G of GET */) {
        socket.write(ACCEPTED);
      } else if (left > 0) {
        left -= 1;
        socket.write(EVENT);
      } else {
        finish(socket);
      }
    }),
  );
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const transport = new Transport(`127.0.0.1:${server.address().port}`);
  addon.transport = transport;
  Object.assign(process.env, {
    _HANDLER: "rehearsal.handler",
    LAMBDA_TASK_ROOT: directory,
    AWS_LAMBDA_FUNCTION_NAME: "f",
    AWS_LAMBDA_FUNCTION_VERSION: "1",
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: "1",
    AWS_LAMBDA_LOG_GROUP_NAME: "g",
    AWS_LAMBDA_LOG_STREAM_NAME: "s",
  });
  if (Number(process.versions.node.split(".")[0]) < CLIENT_RUNS_ON_LOAD) {
    const client = await import(file);
    await client.run(directory, "rehearsal.handler");
  } else {
    await import(`${file}?rehearsal`); // a module of its own
  }
  const socket = await finished;
  transport.lose = () => {}; // its client waits for ever, and must not hear that all is over
  transport.socket.destroy();
  socket.destroy();
  server.close();
  addon.transport = null;
  for (const name of ["beforeExit", "uncaughtException", "unhandledRejection"]) {
    process.removeAllListeners(name);
  }
  for (const name of ["requestId", "tenantId"]) {
    delete globalThis[Symbol.for(`aws.lambda.runtime.${name}`)];
  }
  delete globalThis.awslambda;
  delete require.cache[path.join(directory, "rehearsal.js")];
}

// All that can be done before anybody knows which function it will be.
async function getReady(file, directory, addon) {
  USUAL.forEach((name) => require(`node:${name}`));
  await rehearse(file, directory, addon);
  const transport = addon.current();
  await new Promise((resolve) => transport.connect().ref().once("connect", resolve));
  transport.socket.unref();
}

// stderr, but apart from what Node itself makes of it: it may set that to be non-blocking.
function logDescriptor() {
  try {
    return fs.openSync("/proc/self/fd/2", fs.constants.O_WRONLY);
  } catch {
    return 2; // made by another user
  }
}

async function main() {
  const directory = fs.realpathSync(__dirname);
  const file = pathToFileURL(path.join(directory, "index.mjs")).href;
  const addon = new Addon(directory);
  const descriptor = WAIT.exec(process.argv[2] ?? "")?.[1];
  if (descriptor !== undefined) {
    await getReady(file, directory, addon);
    become(receiveOrder(Number(descriptor)));
    if (addon.transport.address !== process.env.AWS_LAMBDA_RUNTIME_API) {
      addon.transport = null;
    }
  }
  // The client writes what is logged as frames, so that a record of several lines is one event.
  process.env._LAMBDA_TELEMETRY_LOG_FD = String(logDescriptor());
  lookOnPath(directory);
  const client = await import(file);
  if (client.run !== undefined) {
    // 3.x; what 4.x exports nothing of it does when it is loaded.
    await client.run(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER);
  }
}

module.exports = { Transport, isNotFound, isOfPackage, places };
if (require.main === module) {
  // Not as a rejection: the client reports those as the function's own.
  main().catch((error) => setImmediate(() => { throw error; }));
}
