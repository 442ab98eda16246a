// ecommerce.v1.OrderService: all six methods, and what they refuse.
"use strict";

const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");
const grpc = require("@grpc/grpc-js");
const { LOCAL, Reader, clientStream, detail, flows, metadata, refused, soon, unary, violations } = require("./checks");

const { status } = grpc;
const MIB = 1024 * 1024;
const STEPS = ["ORDER_STATUS_CONFIRMED", "ORDER_STATUS_SHIPPED", "ORDER_STATUS_DELIVERED"];

const newUser = () => `user-${randomUUID()}`;
const isSentence = (text) => text.split(" ").length >= 3;
const ids = (orders) => orders.map(({ id }) => id);

/** A good request, for a new user unless told otherwise. */
const order = (item = {}, user_id = newUser()) => ({
  user_id,
  items: [{ product_id: "tea", quantity: 3, price: 19.99, ...item }],
});

/** Every flow, each with orders of its own. */
async function run(checks, { OrderService }, target, credentials) {
  const client = new OrderService(target, credentials, LOCAL);
  // A new client each time: grpc-js compresses its first call whatever the server accepts, the later ones only when it
  // recognises its own spelling in `grpc-accept-encoding`.
  const compressed = async (method, request) => {
    const gzip = { "grpc.default_compression_algorithm": grpc.compressionAlgorithms.gzip };
    const client = new OrderService(target, credentials, { ...LOCAL, ...gzip });
    return unary(client, method, request).finally(() => client.close());
  };
  const check = checks.check.bind(checks);
  try {
    await flows(
      checks,
      () => creating(check, client, compressed),
      () => once(check, client),
      () => watching(check, client),
      () => processing(check, client),
      () => listing(check, client),
      () => batches(check, client),
      () => limits(check, client, compressed),
    );
  } finally {
    client.close();
  }
}

async function creating(check, client, compressed) {
  await check("CreateOrder, GetOrder: a pending order with its exact total", async () => {
    const request = order();
    request.items.push({ product_id: "cup", quantity: 1, price: 0.01 });
    const created = await unary(client, "CreateOrder", request);
    assert.equal(created.user_id, request.user_id);
    assert.deepEqual(created.items, request.items);
    assert.equal(created.total_amount, 59.98);
    assert.equal(created.status, "ORDER_STATUS_PENDING");
    assert.ok(Math.abs(Number(created.created_at.seconds) - Date.now() / 1000) < 300);
    assert.deepEqual(await unary(client, "GetOrder", { order_id: created.id }), created);
  });
  await check("CreateOrder: a gzip request is understood", async () => {
    assert.ok((await compressed("CreateOrder", order({ product_id: "tea ".repeat(25) }))).id);
  });
  await check("CreateOrder: INVALID_ARGUMENT names every field at fault", async () => {
    const request = { user_id: "", items: [{ product_id: "", quantity: 0, price: -1 }] };
    const fields = violations(await refused(status.INVALID_ARGUMENT, unary(client, "CreateOrder", request)));
    const expected = ["items[0].price", "items[0].product_id", "items[0].quantity", "user_id"];
    assert.deepEqual(Object.keys(fields).sort(), expected);
  });
  await check("CreateOrder: at least one item required", async () => {
    const call = unary(client, "CreateOrder", { user_id: newUser(), items: [] });
    assert.deepEqual(violations(await refused(status.INVALID_ARGUMENT, call)), { items: "at least one item required" });
  });
  await check("GetOrder: NOT_FOUND with ResourceInfo", async () => {
    const order_id = randomUUID();
    const error = await refused(status.NOT_FOUND, unary(client, "GetOrder", { order_id }));
    assert.equal(detail(error, "google.rpc.ResourceInfo").resourceName, order_id);
  });
}

async function once(check, client) {
  const headers = { "idempotency-key": randomUUID() };
  const request = order();
  await check("idempotency: the same key and request answer the same order", async () => {
    const calls = Array.from({ length: 5 }, () => unary(client, "CreateOrder", request, { headers }));
    assert.equal(new Set(ids(await Promise.all(calls))).size, 1);
  });
  await check("idempotency: the same key for another request is FAILED_PRECONDITION with ErrorInfo", async () => {
    const call = unary(client, "CreateOrder", order({ quantity: 4 }, request.user_id), { headers });
    const info = detail(await refused(status.FAILED_PRECONDITION, call), "google.rpc.ErrorInfo");
    assert.equal(info.reason, "IDEMPOTENCY_KEY_REUSED");
  });
}

/** A ProcessOrders stream that sends one request and reads its answer before it sends the next. */
class LockStep {
  constructor(client) {
    this.call = client.ProcessOrders(new grpc.Metadata(), soon());
    this.reader = new Reader(this.call);
  }

  move(order_id, new_status) {
    this.call.write({ order_id, new_status });
    return this.reader.next();
  }

  async finish() {
    this.call.end();
    const { messages, status: end } = await this.reader.rest();
    assert.deepEqual([messages, end.code], [[], status.OK]);
  }
}

async function watching(check, client) {
  await check("WatchOrder, ProcessOrders: each change in lock step, then the watch ends with OK", async () => {
    const created = await unary(client, "CreateOrder", order());
    const updates = new Reader(client.WatchOrder({ order_id: created.id }, new grpc.Metadata(), soon()));
    assert.deepEqual((await updates.next()).order, created);
    const process = new LockStep(client);
    for (const step of STEPS) {
      const answer = await process.move(created.id, step);
      assert.deepEqual(answer, { order_id: created.id, success: true, error_message: "" });
      assert.equal((await updates.next()).order.status, step);
    }
    await process.finish();
    const { messages, status: end } = await updates.rest();
    assert.deepEqual([messages, end.code], [[], status.OK]);
  });
  await check("WatchOrder: NOT_FOUND with ResourceInfo", async () => {
    const order_id = randomUUID();
    const call = new Reader(client.WatchOrder({ order_id }, new grpc.Metadata(), soon())).rest();
    assert.equal(detail(await refused(status.NOT_FOUND, call), "google.rpc.ResourceInfo").resourceName, order_id);
  });
  await check("WatchOrder: a deadline of 50 ms ends it with DEADLINE_EXCEEDED", async () => {
    const { id } = await unary(client, "CreateOrder", order());
    const call = client.WatchOrder({ order_id: id }, new grpc.Metadata(), soon(0.05));
    await refused(status.DEADLINE_EXCEEDED, new Reader(call).rest());
  });
  await check("WatchOrder: cancelled watches leave the service well", async () => {
    const { id } = await unary(client, "CreateOrder", order());
    for (let count = 0; count < 20; count += 1) {
      const watch = new Reader(client.WatchOrder({ order_id: id }, new grpc.Metadata(), soon()));
      assert.equal((await watch.next()).order.id, id);
      watch.call.cancel();
      assert.equal((await watch.status).code, status.CANCELLED);
    }
    assert.equal((await unary(client, "GetOrder", { order_id: id })).id, id);
  });
}

async function processing(check, client) {
  await check("ProcessOrders: an illegal step is refused with a sentence and the stream goes on", async () => {
    const { id } = await unary(client, "CreateOrder", order());
    const process = new LockStep(client);
    for (const step of ["ORDER_STATUS_DELIVERED", "ORDER_STATUS_PENDING", "ORDER_STATUS_UNSPECIFIED"]) {
      const answer = await process.move(id, step);
      assert.equal(answer.success, false);
      assert.ok(isSentence(answer.error_message), answer.error_message);
    }
    assert.equal((await process.move(randomUUID(), STEPS[0])).success, false);
    assert.equal((await process.move(id, "ORDER_STATUS_CANCELLED")).success, true);
    await process.finish();
  });
}

/** One page: the ids and the token for the next page, if there is one. */
async function page(client, request) {
  const { messages, status: end } = await new Reader(client.ListOrders(request, new grpc.Metadata(), soon())).rest();
  return { found: ids(messages), token: end.metadata.get("next-page-token")[0] };
}

async function listing(check, client) {
  const user_id = newUser();
  const placed = [];
  for (let count = 0; count < 5; count += 1) placed.unshift((await unary(client, "CreateOrder", order({}, user_id))).id);
  let first;
  await check("ListOrders: pages of two, newest first, until there is no token", async () => {
    first = await page(client, { user_id, page_size: 2 });
    assert.deepEqual(first.found, placed.slice(0, 2));
    const second = await page(client, { user_id, page_size: 2, page_token: first.token });
    assert.deepEqual(second.found, placed.slice(2, 4));
    const last = await page(client, { user_id, page_size: 2, page_token: second.token });
    assert.deepEqual(last, { found: placed.slice(4), token: undefined });
  });
  await check("ListOrders: a tampered token is INVALID_ARGUMENT", async () => {
    const middle = Math.floor(first.token.length / 2);
    const other = first.token[middle] === "A" ? "B" : "A";
    const page_token = first.token.slice(0, middle) + other + first.token.slice(middle + 1);
    await refused(status.INVALID_ARGUMENT, page(client, { user_id, page_size: 2, page_token }));
  });
  await check("ListOrders: a negative page size is INVALID_ARGUMENT", async () => {
    const error = await refused(status.INVALID_ARGUMENT, page(client, { user_id, page_size: -1 }));
    assert.deepEqual(Object.keys(violations(error)), ["page_size"]);
  });
}

async function batches(check, client) {
  await check("BatchCreateOrders: good and bad are counted, the good stay in sequence", async () => {
    const requests = [1, 0, 2, -5, 3].map((quantity) => order({ quantity }));
    const answer = await clientStream(client, "BatchCreateOrders", requests);
    assert.deepEqual([answer.success_count, answer.failure_count], [3, 2]);
    assert.deepEqual(answer.orders.map(({ items }) => items[0].quantity), [1, 2, 3]);
  });
  await check("BatchCreateOrders: an empty batch creates nothing", async () => {
    const answer = await clientStream(client, "BatchCreateOrders", []);
    assert.deepEqual(answer, { orders: [], success_count: 0, failure_count: 0 });
  });
}

async function limits(check, client, compressed) {
  const big = order({ product_id: "x".repeat(5 * MIB) });
  await check("a request over 4 MiB is RESOURCE_EXHAUSTED and names both sizes and the setting", async () => {
    const { details: says } = await refused(status.RESOURCE_EXHAUSTED, unary(client, "CreateOrder", big));
    assert.ok((says.match(/\d+/g) ?? []).length >= 2, `not both sizes: ${says}`);
    assert.ok(says.includes("message_size"), `not the setting: ${says}`);
  });
  await check("a gzip request that would be over 4 MiB is RESOURCE_EXHAUSTED and names the limit", async () => {
    // How large it would have become is not known when it is refused.
    const { details: says } = await refused(status.RESOURCE_EXHAUSTED, compressed("CreateOrder", big));
    assert.match(says, /\d+/);
  });
  for (const path of ["/ecommerce.v1.OrderService/NoSuchMethod", "/ecommerce.v9.NoSuchService/CreateOrder"]) {
    await check(`${path} is UNIMPLEMENTED`, async () => {
      const call = new Promise((resolve, reject) => {
        const same = (bytes) => bytes;
        client.makeUnaryRequest(path, same, same, Buffer.alloc(0), metadata({}), soon(), (error, answer) =>
          error ? reject(error) : resolve(answer),
        );
      });
      await refused(status.UNIMPLEMENTED, call);
    });
  }
}

module.exports = { run };
