// What stands in the log of a room, as what is told of it.

import assert from "node:assert/strict";
import test from "node:test";

import { entryOf, pageOf } from "../src/log_entries.js";

const OF = { id: 1, of: 3, sender: 2 };
const REACTION = { ...OF, user: 4, reaction: "like", on: true };
const PIN = { ...OF, by: 5, on: false };
const REACTED = { type: "reacted", roomId: 7, seq: 5, of: 3, messageId: 1, userId: 4, reaction: "like", isOn: true, atMs: 9 };
const PINNED = { type: "pinned", roomId: 7, seq: 6, of: 3, messageId: 1, byId: 5, isOn: false, atMs: 10 };
const LEFT = { type: "member", roomId: 7, userId: 4, isActive: false, seq: 8, atMs: 12, role: "member" };

test("reactions and pins are entries, and a change that is not known is a place and no deletion", () => {
  assert.deepEqual(entryOf({ type: "reaction", room: 7, seq: 5, ts: 9, data: REACTION }, 2), REACTED);
  assert.deepEqual(entryOf({ type: "pin", room: 7, seq: 6, ts: 10, data: PIN }, 2), PINNED);
  assert.equal(entryOf({ type: "of tomorrow", room: 7, seq: 7 }, 2), null);
  assert.equal(entryOf({ type: "toString", room: 7, seq: 7 }, 2), null);
  const changes = [
    { seq: 8, ts: 12, change: "left", user: 4, role: "member" },
    { seq: 7, ts: 11, change: "of tomorrow", ...OF },
    { seq: 5, ts: 9, change: "reaction", ...REACTION },
    { seq: 6, ts: 10, change: "pin", ...PIN },
  ];
  const page = pageOf(7, { messages: [], changes }, 1);
  assert.deepEqual(page, [{ seq: 5, said: REACTED }, { seq: 6, said: PINNED }, { seq: 7, said: null }, { seq: 8, said: LEFT }]);
});

test("a page says which reactions stand on a message, and since when it is pinned", () => {
  const reactions = [{ reaction: "like", count: 2, mine: true }];
  const [{ said }] = pageOf(7, { messages: [{ seq: 3, ts: 9, id: 1, sender: 2, body: "x", reactions, pinned: 12 }] }, 1);
  assert.deepEqual([said.reactions, said.pinnedAtMs], [reactions, 12]);
});
