// user.v1.UserService and user.v2.UserService: the same users through both versions.
"use strict";

const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");
const { status } = require("@grpc/grpc-js");
const { LOCAL, detail, flows, refused, unary, violations } = require("./checks");

const newEmail = () => `${randomUUID()}@example.com`;

/** The same flows through each version, then across them. */
async function run(checks, versions, target, credentials) {
  const clients = {};
  for (const [version, { UserService }] of Object.entries(versions)) {
    clients[version] = new UserService(target, credentials, LOCAL);
  }
  try {
    for (const [version, client] of Object.entries(clients)) {
      const check = (name, body) => checks.check(`user.${version}: ${name}`, body);
      await flows(
        checks,
        () => creating(check, client),
        () => updating(check, client),
        () => listing(check, client),
      );
    }
    await across(checks, clients.v1, clients.v2);
  } finally {
    for (const client of Object.values(clients)) client.close();
  }
}

const create = (client, name = "Ada") => unary(client, "CreateUser", { email: newEmail(), name });

async function creating(check, client) {
  await check("CreateUser, GetUser: what was created is answered", async () => {
    const user = await create(client);
    assert.equal(user.name, "Ada");
    assert.deepEqual(await unary(client, "GetUser", { id: user.id }), user);
  });
  await check("CreateUser: a taken e-mail address is ALREADY_EXISTS", async () => {
    const { email } = await create(client);
    await refused(status.ALREADY_EXISTS, unary(client, "CreateUser", { email: email.toUpperCase(), name: "Eve" }));
  });
  await check("CreateUser: INVALID_ARGUMENT names every field at fault", async () => {
    const error = await refused(status.INVALID_ARGUMENT, unary(client, "CreateUser", { email: "not an address" }));
    assert.deepEqual(Object.keys(violations(error)).sort(), ["email", "name"]);
  });
  await check("GetUser: NOT_FOUND with ResourceInfo", async () => {
    const id = randomUUID();
    const error = await refused(status.NOT_FOUND, unary(client, "GetUser", { id }));
    assert.equal(detail(error, "google.rpc.ResourceInfo").resourceName, id);
  });
}

async function updating(check, client) {
  await check("UpdateUser: only what the mask names", async () => {
    const user = await create(client);
    const changed = { id: user.id, email: newEmail(), name: "Grace" };
    const answer = await unary(client, "UpdateUser", { user: changed, update_mask: { paths: ["name"] } });
    assert.deepEqual([answer.email, answer.name], [user.email, "Grace"]);
  });
  await check("UpdateUser: a mask of something else is INVALID_ARGUMENT", async () => {
    const { id } = await create(client);
    const request = { user: { id, name: "Grace" }, update_mask: { paths: ["no_such_field"] } };
    await refused(status.INVALID_ARGUMENT, unary(client, "UpdateUser", request));
  });
}

async function listing(check, client) {
  const tag = `t${randomUUID()}`;
  const created = [];
  for (const number of [1, 2, 3]) created.unshift((await create(client, `${tag} ${number}`)).id);
  const filter = `name : "${tag}"`;
  await check("ListUsers: pages of two, newest first, with the total", async () => {
    const first = await unary(client, "ListUsers", { filter, page_size: 2 });
    assert.deepEqual(first.users.map(({ id }) => id), created.slice(0, 2));
    assert.equal(first.total_size, 3);
    const last = await unary(client, "ListUsers", { filter, page_size: 2, page_token: first.next_page_token });
    assert.deepEqual(last.users.map(({ id }) => id), created.slice(2));
    assert.equal(last.next_page_token, "");
  });
  await check("ListUsers: a filter it does not know is INVALID_ARGUMENT", async () => {
    const error = await refused(status.INVALID_ARGUMENT, unary(client, "ListUsers", { filter: "colour = red" }));
    assert.deepEqual(Object.keys(violations(error)), ["filter"]);
  });
  await check("ListUsers: a negative page size is INVALID_ARGUMENT", async () => {
    await refused(status.INVALID_ARGUMENT, unary(client, "ListUsers", { page_size: -1 }));
  });
}

/** Old and new clients beside each other. */
async function across(checks, v1, v2) {
  await checks.check("user: an old client's update leaves the new fields alone", async () => {
    const user = await unary(v2, "CreateUser", { email: newEmail(), name: "Ada", phone_number: "+44 20 7946 0000" });
    const verified = { user: { id: user.id, email_verified: true }, update_mask: { paths: ["email_verified"] } };
    await unary(v2, "UpdateUser", verified);
    assert.equal((await unary(v1, "GetUser", { id: user.id })).email, user.email);
    await unary(v1, "UpdateUser", { user: { id: user.id, name: "Countess" } });
    const seen = await unary(v2, "GetUser", { id: user.id });
    assert.deepEqual(seen, { ...user, name: "Countess", email_verified: true });
  });
}

module.exports = { run };
