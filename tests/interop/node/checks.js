// One line per check: `ok ...` when it held, `FAIL ...` with the reason when it did not.
"use strict";

const assert = require("node:assert/strict");
const grpc = require("@grpc/grpc-js");
const { details } = require("./wellknown");

// Nothing here is slow. A call that takes longer than this has failed.
const SECONDS = 10;

// Environment settings of a proxy do not concern a loopback address.
const LOCAL = { "grpc.enable_http_proxy": 0 };

const codeName = (code) => grpc.status[code] ?? code;

class Checks {
  constructor(suite) {
    this.suite = suite;
    this.passed = 0;
    this.failed = 0;
  }

  /** Runs the function as one check. A failure is printed and does not stop the next check. */
  async check(name, body) {
    try {
      await body();
      this.passed += 1;
      console.log(`ok   ${this.suite} ${name}`);
    } catch (error) {
      this.failed += 1;
      const place = /\/interop\/node\/(?!checks)([\w.]+:\d+)/.exec(error.stack ?? "")?.[1] ?? "";
      console.log(`FAIL ${this.suite} ${name}: ${String(error.message ?? error).replaceAll("\n", " ")} ${place}`);
    }
  }
}

/** Runs flows one after the other. One that cannot even prepare its checks has failed; the next one runs. */
async function flows(checks, ...bodies) {
  for (const body of bodies) {
    try {
      await body();
    } catch (error) {
      checks.failed += 1;
      console.log(`FAIL ${checks.suite} preparing ${body.name || body}: ${error.message}`);
    }
  }
}

/** The options every call gets: it ends, one way or the other. */
const soon = (seconds = SECONDS) => ({ deadline: Date.now() + seconds * 1000 });

/** Metadata from pairs. */
function metadata(pairs) {
  const found = new grpc.Metadata();
  for (const [key, value] of Object.entries(pairs)) found.set(key, value);
  return found;
}

/** A unary call as a promise. */
function unary(client, method, request, { options = soon(), headers = {} } = {}) {
  return new Promise((resolve, reject) => {
    client[method](request, metadata(headers), options, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

/** A client stream as a promise. */
function clientStream(client, method, requests) {
  return new Promise((resolve, reject) => {
    const call = client[method](new grpc.Metadata(), soon(), (error, answer) => (error ? reject(error) : resolve(answer)));
    for (const request of requests) call.write(request);
    call.end();
  });
}

/** The receiving side of a stream, read one message at a time. */
class Reader {
  constructor(call) {
    this.call = call;
    this.messages = call[Symbol.asyncIterator]();
    this.status = new Promise((resolve) => call.on("status", resolve));
    // The iterator reports the error as well; nobody needs to hear it twice.
    call.on("error", () => {});
  }

  /** The next message; fails when the stream has ended instead. */
  async next() {
    const { value, done } = await this.messages.next();
    assert.ok(!done, "the stream ended early");
    return value;
  }

  /** Whatever is left, and the status at the end. A refusal is thrown. */
  async rest() {
    const messages = [];
    for (;;) {
      const { value, done } = await this.messages.next();
      if (done) break;
      messages.push(value);
    }
    return { messages, status: await this.status };
  }
}

/** Awaits a call that must fail with `code` and returns the failure. */
async function refused(code, call) {
  let answer;
  try {
    answer = await call;
  } catch (error) {
    assert.equal(codeName(error.code), codeName(code), `${codeName(error.code)}: ${error.details}`);
    return error;
  }
  throw new Error(`answered ${JSON.stringify(answer)}, expected ${codeName(code)}`.slice(0, 300));
}

/** The detail of this kind, decoded from `grpc-status-details-bin`. */
function detail(error, kind) {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  assert.ok(bytes, `no details with: ${error.details}`);
  const { code, message, found } = details(bytes, kind);
  assert.equal(code, error.code, "the details carry another code");
  assert.equal(message, error.details, "the details carry another message");
  assert.ok(found, `no ${kind} among the details`);
  return found;
}

/** Field -> description, of a google.rpc.BadRequest. */
function violations(error) {
  const found = detail(error, "google.rpc.BadRequest").fieldViolations;
  return Object.fromEntries(found.map(({ field, description }) => [field, description]));
}

module.exports = { Checks, LOCAL, Reader, clientStream, codeName, detail, flows, metadata, refused, soon, unary, violations };
