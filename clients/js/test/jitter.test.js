// Many who were cut at once come back spread over their window. By chance; all of it fails once in a million times.
//
// The windows themselves are in tests/client/cases.json.

import assert from "node:assert/strict";
import { test } from "node:test";
import WebSocket from "ws";
import { Client } from "../index.js";
import { ScriptedServer } from "./scripted_server.js";

const MANY = 80;

// Clients of one server: their lines, and what each was told of the loss of its connection, with when.
async function herd(context) {
  const server = new ScriptedServer();
  const url = await server.address();
  const losses = [];
  const clients = Array.from({ length: MANY }, (_, number) => {
    const onEvent = (event) => {
      if (event.type === "disconnected") losses.push({ ...event, at: performance.now() });
    };
    return new Client({ url, token: `t${number}`, device: "test", WebSocket, onEvent });
  });
  context.after(async () => {
    const closing = clients.map((client) => client.close());
    server.close();
    await Promise.all(closing);
  });
  for (const client of clients) client.open();
  const lines = [];
  while (lines.length < MANY) lines.push(await server.ready());
  return { server, lines, losses };
}

for (const [code, least, most] of [[4200, 0, 1], [4100, 1, 1.5], [1011, 0, 0.5]]) {
  test(`those who were closed at once with ${code} come back spread over its window`, async (context) => {
    const { server, lines, losses } = await herd(context);
    const began = performance.now();
    for (const line of lines) line.socket.close(code);
    const back = [];
    while (back.length < MANY) {
      await server.ready();
      back.push(performance.now() - began);
    }
    const waits = losses.map((loss) => loss.retrySeconds).sort((one, other) => one - other);
    assert.equal(waits.length, MANY);
    assert.ok(waits.every((seconds) => seconds >= least && seconds < most), waits);
    const quarters = waits.map((seconds) => Math.floor((4 * (seconds - least)) / (most - least)));
    for (const quarter of [0, 1, 2, 3]) assert.ok(quarters.filter((one) => one === quarter).length >= 3, waits);
    // Who waits longest comes last: the times are kept.
    waits.forEach((seconds, at) => assert.ok(back[at] > seconds * 1000 - 20, `${at}: ${back[at]} ms, not ${seconds} s`));
  });
}

test("those who are moved at once go spread over the second that there is for it", async (context) => {
  const { server, lines, losses } = await herd(context);
  const began = performance.now();
  const data = { after: 0, deadline: 60000, reason: "rebalance", resume: true };
  for (const line of lines) line.say({ type: "reconnect", data });
  for (let count = 0; count < MANY; count++) await server.ready();
  const delays = losses.map((loss) => loss.at - began).sort((one, other) => one - other);
  assert.equal(delays.length, MANY);
  assert.ok(delays[MANY / 2] > 200, delays);
  assert.ok(delays[MANY - 1] - delays[0] > 300, delays);
});
