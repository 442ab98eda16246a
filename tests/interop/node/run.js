// Drives the reference service with grpc-js, over TCP and over a Unix socket. `cargo xtask interop` starts it.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { parseArgs } = require("node:util");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");
const { Checks } = require("./checks");
const operations = require("./operations");
const orders = require("./orders");
const users = require("./users");

const text = { type: "string" };
const { values: given } = parseArgs({
  options: { grpc: text, unix: text, admin: text, proto: text, reflection: { type: "boolean" } },
});

/** Every service of the repository's .proto files, by package. */
function load(root) {
  const files = fs
    .readdirSync(root, { recursive: true })
    .filter((file) => file.endsWith(".proto") && !/^(google|buf)\//.test(file));
  const options = { includeDirs: [root], keepCase: true, enums: String, longs: String, defaults: true };
  return grpc.loadPackageDefinition(protoLoader.loadSync(files, options));
}

async function main() {
  const api = load(path.resolve(given.proto));
  const credentials = grpc.credentials.createInsecure();
  let failed = 0;
  for (const [where, target] of [["tcp", given.grpc], ["unix", given.unix]]) {
    const checks = new Checks(`node ${where}`);
    await operations.greeter(checks, api.greeter, target, credentials);
    await operations.health(checks, target, credentials);
    await orders.run(checks, api.ecommerce.v1, target, credentials);
    await users.run(checks, { v1: api.user.v1, v2: api.user.v2 }, target, credentials);
    if (given.reflection) await operations.reflection(checks, target, credentials);
    failed += checks.failed;
  }
  const checks = new Checks("node http");
  await operations.admin(checks, given.admin);
  failed += checks.failed;
  return failed === 0 ? 0 : 1;
}

main().then(
  (code) => process.exit(code),
  (error) => {
    console.error(error);
    process.exit(2);
  },
);
