// What an operator asks: greeting, health, reflection, and the admin port.
"use strict";

const assert = require("node:assert/strict");
const grpc = require("@grpc/grpc-js");
const { LOCAL, Reader, refused, soon, unary } = require("./checks");
const { Health, ServerReflection } = require("./wellknown");

const SERVICES = ["ecommerce.v1.OrderService", "user.v1.UserService", "user.v2.UserService", "greeter.Greeter"];

/** The smallest service. */
async function greeter(checks, { Greeter }, target, credentials) {
  const client = new Greeter(target, credentials, LOCAL);
  await checks.check("SayHello: Hello NAME", async () => {
    for (const name of ["World", "", "Z\u00fcrich \u2603"]) {
      assert.deepEqual(await unary(client, "SayHello", { name }), { message: `Hello ${name}` });
    }
  });
  await checks.check("SayHello: the name `invalid` is refused", async () => {
    const error = await refused(grpc.status.INVALID_ARGUMENT, unary(client, "SayHello", { name: "invalid" }));
    assert.equal(error.details, "name cannot be 'invalid'");
  });
  client.close();
}

/** grpc.health.v1, as probes use it. */
async function health(checks, target, credentials) {
  const client = new Health(target, credentials, LOCAL);
  for (const service of ["", "livez", "readyz", ...SERVICES]) {
    await checks.check(`Health.Check: ${service || "the whole"} is SERVING`, async () => {
      assert.deepEqual(await unary(client, "Check", { service }), { status: "SERVING" });
    });
  }
  await checks.check("Health.Check: an unknown service is NOT_FOUND", async () => {
    await refused(grpc.status.NOT_FOUND, unary(client, "Check", { service: "no.such.Service" }));
  });
  await checks.check("Health.Watch: the present status at once, then it stays open", async () => {
    for (const [service, status] of [["", "SERVING"], ["no.such.Service", "SERVICE_UNKNOWN"]]) {
      const watch = new Reader(client.Watch({ service }, new grpc.Metadata(), soon()));
      assert.deepEqual(await watch.next(), { status });
      watch.call.cancel();
      assert.equal((await watch.status).code, grpc.status.CANCELLED);
    }
  });
  await checks.check("Health.List: every service with its status", async () => {
    const { statuses } = await unary(client, "List", {});
    for (const service of ["", ...SERVICES]) assert.equal(statuses[service]?.status, "SERVING", service);
  });
  client.close();
}

/** A client that knows nothing finds our services and their files. */
async function reflection(checks, target, credentials) {
  const client = new ServerReflection(target, credentials, LOCAL);
  const ask = async (request) => {
    const call = client.ServerReflectionInfo(new grpc.Metadata(), soon());
    call.write(request);
    call.end();
    return (await new Reader(call).rest()).messages;
  };
  await checks.check("reflection v1: lists our services", async () => {
    const [answer] = await ask({ listServices: "*" });
    const listed = answer.listServicesResponse.service.map(({ name }) => name);
    assert.deepEqual(SERVICES.filter((service) => !listed.includes(service)), []);
  });
  await checks.check("reflection v1: a service comes with its file", async () => {
    const [answer] = await ask({ fileContainingSymbol: "greeter.Greeter" });
    const files = answer.fileDescriptorResponse.fileDescriptorProto;
    assert.ok(files.some((bytes) => bytes.includes("HelloRequest")));
  });
  client.close();
}

/** The HTTP port, after the other checks have made some traffic. */
async function admin(checks, address) {
  const get = async (path) => {
    const answer = await fetch(`http://${address}${path}`, { signal: AbortSignal.timeout(10_000) });
    return [answer.status, await answer.text()];
  };
  for (const path of ["/livez", "/readyz"]) {
    await checks.check(`admin: ${path} answers 200`, async () => assert.equal((await get(path))[0], 200));
  }
  await checks.check("admin: /metrics counts the calls by method and code", async () => {
    const [, text] = await get("/metrics");
    const sample = (name, ...labels) =>
      text.split("\n").find((line) => line.startsWith(name) && labels.every((label) => line.includes(label)));
    assert.ok(sample("grpc_requests_total{", 'method="ecommerce.v1.OrderService/CreateOrder"', 'code="OK"'));
    assert.ok(sample("grpc_requests_total{", 'method="ecommerce.v1.OrderService/GetOrder"', 'code="NOT_FOUND"'));
    assert.ok(sample("orders_created_total"));
  });
}

module.exports = { admin, greeter, health, reflection };
