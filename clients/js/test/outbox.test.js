// What was said and is not stored yet: one of each room under way, the same client id at every try.

import assert from "node:assert/strict";
import { test } from "node:test";
import { OutboxFull } from "../src/errors.js";
import { LINES_MAX, Outbox } from "../src/outbox.js";

let serial = 0;
const line = (roomId) => ({ roomId, clientId: `id ${++serial}`, body: "said" });

function outboxWith(...lines) {
  const outbox = new Outbox();
  for (const one of lines) outbox.put(one);
  return outbox;
}

test("one line of a room is under way at a time, in the order they were said", () => {
  const [first, second] = [line(1), line(1)];
  const outbox = outboxWith(first, second);
  assert.deepEqual(outbox.start(), [first]);
  assert.deepEqual(outbox.start(), []);
  outbox.finish(first);
  assert.deepEqual(outbox.start(), [second]);
  outbox.finish(second);
  assert.equal(outbox.size, 0);
});

test("rooms do not wait for each other", () => {
  const [one, later, other] = [line(1), line(1), line(2)];
  const outbox = outboxWith(one, later, other);
  assert.deepEqual(outbox.start(), [one, other]);
  assert.deepEqual(outbox.underWay, [one, other]);
  assert.deepEqual(outbox.of(1), [one, later]);
});

test("what was under way when the connection was lost is sent again as the same line", () => {
  const once = line(1);
  const outbox = outboxWith(once);
  outbox.start();
  outbox.again();
  assert.deepEqual(outbox.underWay, []);
  assert.deepEqual(outbox.start(), [once]);
});

test("a line that the server asks to wait with holds up its room alone, also across a loss", () => {
  const [held, behind, other] = [line(1), line(1), line(2)];
  const outbox = outboxWith(held, behind, other);
  outbox.start();
  outbox.hold(held);
  outbox.again();
  assert.deepEqual(outbox.start(), [other]);
  outbox.release(1);
  assert.deepEqual(outbox.start(), [held]);
});

test("it is bounded", () => {
  const outbox = outboxWith(...Array.from({ length: LINES_MAX }, () => line(1)));
  assert.throws(() => outbox.put(line(1)), OutboxFull);
});
