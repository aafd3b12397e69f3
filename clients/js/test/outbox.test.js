// What was said and is not stored yet: one of each room under way, the same client id at every try.

import assert from "node:assert/strict";
import { test } from "node:test";
import { OutboxFull, Refused } from "../src/errors.js";
import { LINES_MAX, Outbox } from "../src/outbox.js";

let serial = 0;
const line = (roomId, clientId = `id ${++serial}`, body = "said", attachments = []) => ({ roomId, clientId, body, attachments });
const started = (outbox) => outbox.start().map(([, one]) => one);

function outboxWith(...lines) {
  let commands = 0;
  const outbox = new Outbox(() => `c${++commands}`);
  for (const one of lines) outbox.put(one);
  return outbox;
}

test("one line of a room is under way at a time, in the order they were said", () => {
  const [first, second] = [line(1), line(1)];
  const outbox = outboxWith(first, second);
  assert.deepEqual(started(outbox), [first]);
  assert.deepEqual(started(outbox), []);
  outbox.finish(first);
  assert.deepEqual(started(outbox), [second]);
  outbox.finish(second);
  assert.equal(outbox.size, 0);
});

test("rooms do not wait for each other", () => {
  const [one, later, other] = [line(1), line(1), line(2)];
  const outbox = outboxWith(one, later, other);
  assert.deepEqual(started(outbox), [one, other]);
  assert.deepEqual(outbox.underWay, [one, other]);
  assert.deepEqual(outbox.of(1), [one, later]);
});

test("what was under way when the connection was lost is sent again as the same line", () => {
  const once = line(1);
  const outbox = outboxWith(once);
  outbox.start();
  outbox.again();
  assert.deepEqual(outbox.underWay, []);
  assert.deepEqual(started(outbox), [once]);
});

test("a line that the server asks to wait with holds up its room alone, also across a loss", () => {
  const [held, behind, other] = [line(1), line(1), line(2)];
  const outbox = outboxWith(held, behind, other);
  outbox.start();
  outbox.hold(held);
  outbox.again();
  assert.deepEqual(started(outbox), [other]);
  outbox.release(1);
  assert.deepEqual(started(outbox), [held]);
});

test("an answer is known by the id of its command, which no other try has", () => {
  const [here, there] = [line(1, "c2"), line(2, "c1")];
  const outbox = outboxWith(here, there);
  assert.deepEqual(outbox.start(), [["c1", here], ["c2", there]]);
  assert.deepEqual([outbox.sent("c1"), outbox.sent("c2"), outbox.sent("c3")], [here, there, undefined]);
  outbox.again();
  assert.equal(outbox.sent("c1"), undefined);
  assert.deepEqual(outbox.start(), [["c3", here], ["c4", there]]);
  outbox.finish(here);
  assert.deepEqual([outbox.sent("c3"), outbox.sent("c4"), outbox.underWay], [undefined, there, [there]]);
  outbox.hold(there);
  assert.deepEqual([outbox.sent("c4"), outbox.underWay, outbox.size], [undefined, [], 1]);
});

test("one client id in two rooms is two lines", () => {
  const [here, there] = [line(1, "k"), line(2, "k")];
  const outbox = outboxWith(here, there);
  assert.deepEqual([outbox.size, started(outbox)], [2, [here, there]]);
  outbox.finish(here);
  assert.deepEqual([outbox.find(1, "k"), outbox.find(2, "k"), outbox.of(2)], [undefined, there, [there]]);
});

test("a client id that is pending is the same line, or refused", () => {
  const once = line(1, "k", "once", ["a file"]);
  const outbox = outboxWith(once, { ...once, attachments: ["a file"] });
  assert.deepEqual(outbox.of(1), [once]);
  for (const wrong of [{ body: "else" }, { attachments: [] }, { attachments: ["another"] }]) {
    assert.throws(() => outbox.put({ ...once, ...wrong }), (fault) => fault instanceof Refused && fault.code === 3010);
  }
  assert.deepEqual(started(outbox), [once]);
  outbox.put({ ...once }); // also when it is under way
  assert.deepEqual([outbox.size, started(outbox)], [1, []]);
  outbox.finish(once);
  outbox.put(line(1, "k", "else"));
  assert.equal(outbox.size, 1);
});

test("details are the same whatever the order of their keys, and of the keys inside", () => {
  const poll = { kind: "poll", format: "md", mentions: [{ user: 8, at: 0 }, { user: 9, at: 4 }] };
  const once = { ...line(1, "k"), details: poll };
  const outbox = outboxWith(once);
  outbox.put({ ...once, details: { mentions: [{ at: 0, user: 8 }, { at: 4, user: 9 }], format: "md", kind: "poll" } });
  assert.deepEqual(outbox.of(1), [once]);
  const others = [
    { ...poll, kind: "md", format: "poll" },
    { ...poll, mentions: [...poll.mentions].reverse() }, // a list has an order
    { ...poll, mentions: { 0: poll.mentions[0], 1: poll.mentions[1] } },
    { kind: "poll", format: "md" },
  ];
  for (const details of others) {
    assert.throws(() => outbox.put({ ...once, details }), (fault) => fault instanceof Refused && fault.code === 3010);
  }
});

test("it is bounded", () => {
  const lines = Array.from({ length: LINES_MAX }, () => line(1));
  const outbox = outboxWith(...lines);
  assert.throws(() => outbox.put(line(1)), OutboxFull);
  outbox.put({ ...lines[3] }); // it waits already
  assert.deepEqual(outbox.of(1), lines);
});

test("what was said without a client id is no line of ours, whatever that is called", () => {
  const outbox = outboxWith(line(1, "null"), line(1, "undefined"));
  assert.equal(outbox.find(1, null), undefined);
  assert.equal(outbox.find(1, "null").clientId, "null");
});
