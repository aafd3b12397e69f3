// The client against a scripted server: what it tells, and what it does when the line goes.

import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { ClientRefused, Refused, ServerAway } from "../index.js";
import { answered, opened, ROOM, seqs, soon } from "./opened.js";
import { PLACE, stored } from "./scripted_server.js";

test("40xx ends it: who waits is told, and nothing is tried again", async (context) => {
  const { server, client, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  client.send(ROOM, "never stored");
  const sent = assert.rejects(client.waitSent(), ClientRefused);
  const asked = assert.rejects(client.history(ROOM, 10), ClientRefused);
  line.socket.close(4003, "forbidden");
  assert.deepEqual(await next("ended"), { type: "ended", code: 4003, why: "forbidden" });
  await Promise.all([sent, asked]);
  assert.throws(() => client.send(ROOM, "more"), ClientRefused);
  assert.equal(client.unsent, 1);
  await soon(300);
  assert.ok(server.lines.isEmpty, "it came back");
});

test("a client that comes back as another user ends, and nothing of the one reaches the other", async (context) => {
  const { server, client, next, of } = await opened(context);
  const first = await server.ready([ROOM, 0]);
  await next("connected");
  client.send(ROOM, "of the first");
  await first.heard("send");
  first.socket.close(4200);
  await next("disconnected");
  const second = await server.line(); // in another tab somebody else has signed in: the cookie is theirs
  const ready = second.readyFrame({ user: 8, name: "Ben", rooms: [{ ...PLACE, r: ROOM, top: 1 }] });
  const data = { id: 1, sender: 9, senderName: "Cem", body: "for the second" };
  second.sayWrong([ready, { type: "message", room: ROOM, seq: 1, ts: 1, data }]); // at once
  assert.deepEqual(await next("ended"), { type: "ended", code: 4001, why: "another user is signed in" });
  assert.deepEqual([await second.closed, second.frames.isEmpty], [1000, true]);
  assert.deepEqual([of("connected").length, of("entered").length, of("said")], [1, 1, []]);
  assert.deepEqual([client.userId, client.unsent], [7, 1]);
  assert.throws(() => client.send(ROOM, "more"), ClientRefused);
});

// What the server may say before `ready`: a room that has answered is heard at once, another may be slow.
const EARLY = [
  { type: "typing", room: ROOM, data: { users: [9], names: { 9: "Cem" } } },
  { type: "member", room: ROOM, seq: 1, ts: 1, data: { user: 9, change: "joined", role: "member" } },
  { type: "block", useq: 1, ts: 1, data: { user: 9, blocked: true } },
  { type: "presence_state", data: { users: [{ user: 9, name: "Cem", status: "online", activity: "" }] } },
];
const EARLY_OF_TOMORROW = { type: "of tomorrow", room: ROOM, data: {} };

test("what comes before the ready of another user is not told", async (context) => {
  const { server, client, next, log } = await opened(context);
  const first = await server.ready([ROOM, 0]);
  await next("caughtUp");
  first.socket.close(4200);
  await next("disconnected");
  const told = log.length;
  const second = await server.line();
  second.say(...EARLY);
  second.sayWrong(EARLY_OF_TOMORROW);
  second.say(second.readyFrame({ user: 8, name: "Ben", rooms: [{ ...PLACE, r: ROOM, top: 1 }] }));
  await next("ended");
  assert.deepEqual(log.slice(told).map(({ type }) => type), ["ended"]);
  assert.equal(client._rooms.get(ROOM).log.seq, 0);
});

test("what comes before ready is told after connected, in order, and not if the connection is lost before", async (context) => {
  const { server, next, log } = await opened(context);
  const first = await server.ready([ROOM, 0]);
  await next("caughtUp");
  first.socket.close(4200);
  await next("disconnected");
  const second = await server.line();
  second.say({ type: "typing", room: ROOM, data: { users: [8], names: { 8: "Ben" } } });
  second.socket.close(4200);
  await next("disconnected");
  const told = log.length;
  const third = await server.line();
  third.say(...EARLY);
  third.sayWrong(EARLY_OF_TOMORROW);
  third.ready([ROOM, 1]);
  third.message(ROOM, 2);
  await next("said");
  const types = ["connected", "entered", "typing", "member", "personal", "watched", "other", "caughtUp", "said"];
  assert.deepEqual(log.slice(told).map(({ type }) => type), types);
  assert.deepEqual(log.find(({ type }) => type === "typing").names, new Map([[9, "Cem"]]));
});

test("that we left a room is over where ready lets us in again", async (context) => {
  const { server, next, log } = await opened(context);
  const first = await server.ready([ROOM, 0]);
  await next("caughtUp");
  first.socket.close(4200);
  await next("disconnected");
  const told = log.length;
  const second = await server.line();
  const member = (seq, change) => ({ type: "member", room: ROOM, seq, ts: 1, data: { user: 7, change, role: "member" } });
  second.say(member(1, "left"), member(2, "joined"));
  second.ready([ROOM, 2]);
  second.ack(await second.heard("history"), { messages: [], skip: [1] });
  await next("member");
  assert.deepEqual(log.slice(told).map(({ type }) => type).filter((type) => type !== "caughtUp"), ["connected", "entered", "member"]);
  assert.deepEqual(log.filter(({ type }) => type === "member").map(({ isActive }) => isActive), [true]);
});

test("what was asked for is told when the connection is lost", async (context) => {
  const { server, client, next } = await opened(context);
  await assert.rejects(client.request("ping"), ServerAway);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  const asked = assert.rejects(client.history(ROOM, 10), ServerAway);
  await line.heard("history");
  line.socket.terminate();
  await asked;
});

test("it moves when the server says so, at its own moment, and nobody needs to be told", async (context) => {
  const { server, client, next, of } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  client.send(ROOM, "under way");
  await line.heard("send");
  const began = Date.now();
  line.say({ type: "reconnect", data: { after: 200, deadline: 400, reason: "drain", resume: true } });
  const moved = await server.ready([ROOM, 0]);
  const waited = Date.now() - began;
  assert.ok(waited >= 190 && waited < 3000, `${waited} ms`);
  assert.equal((await moved.heard("send")).data.body, "under way");
  assert.equal(await line.closed, 1000);
  await next("connected");
  moved.socket.close(1012);
  await server.ready([ROOM, 0]);
  await next("connected");
  assert.deepEqual(of("disconnected").map((event) => [event.code, event.isExpected]), [[4200, true], [1012, true]]);
});

test("what is cut without a word is not expected, nor is a slow reader's end", async (context) => {
  const { server, next } = await opened(context);
  (await server.ready([ROOM, 0])).socket.terminate();
  assert.equal((await next("disconnected")).isExpected, false);
  (await server.ready([ROOM, 0])).socket.close(4201);
  assert.equal((await next("disconnected")).isExpected, false);
});

test("whoever does not want to wait does not", async (context) => {
  let asked = 0;
  const { client, next } = await opened(context, {
    token: () => {
      asked += 1;
      throw new Error("away");
    },
  });
  for (let tries = 1; tries <= 6; tries += 1) {
    await next("disconnected");
    assert.equal(asked, tries);
    client.retryNow();
  }
});

test("what the user is told comes once, in order, and a hole is filled by sync", async (context) => {
  const { server, next, of } = await opened(context);
  const first = await server.line();
  first.useq = 4;
  first.ready([ROOM, 0]);
  for (const useq of [4, 5, 5, 8, 7]) first.personal(useq);
  assert.equal((await next("personal")).useq, 5);
  const asked = await first.heard("sync");
  assert.deepEqual(asked.data, { user: { useq: 5, epoch: 1 } });
  for (const useq of [6, 7, 8]) first.personal(useq);
  first.ack(asked, { rooms: [] });
  first.sayWrong({ type: "of tomorrow", useq: 9, ts: 1009, data: {} });
  while ((await next("personal")).useq !== 9);
  assert.deepEqual(of("personal").map((event) => event.useq), [5, 6, 7, 8, 9]);
  const { useq, what, roomId, data, atMs } = of("personal")[0];
  assert.deepEqual([useq, what, roomId, data, atMs], [5, "block", null, { user: 5, blocked: true }, 1005]);
  first.socket.close(4200);
  const second = await server.line();
  assert.deepEqual(second.start.resume.user, { useq: 9, epoch: 1 });
  second.useq = 700;
  second.ready([ROOM, 0]);
  second.say({ type: "gap", data: { user: true, from: 10, to: 700, top: 700 } });
  assert.deepEqual(await next("missed"), { type: "missed", firstUseq: 10, lastUseq: 700, isReset: false });
  second.say({ type: "read_sync", room: ROOM, useq: 701, ts: 1, data: { seq: 3 } });
  assert.equal((await next("personal")).roomId, ROOM);
  second.socket.close(4200);
  const third = await server.line(); // the database was restored meanwhile
  Object.assign(third, { useq: 20, userEpoch: 2 });
  third.ready([ROOM, 0]);
  third.say({ type: "gap", data: { user: true, from: 1, to: 20, top: 20, reset: true } });
  assert.equal((await next("missed")).isReset, true);
  third.personal(21);
  assert.equal((await next("personal")).useq, 21);
});

test("a class that is told to slow down waits: lines, questions and markers; typing is dropped", async (context) => {
  const { server, client, next, of } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  client.send(ROOM, "one too many");
  const refused = await line.heard("send");
  const began = Date.now();
  line.say({ type: "slow_down", data: { class: "send", retryAfter: 1 } });
  line.error(refused, 4291, { recoverable: true, retryAfter: 1 });
  line.personal(1);
  await next("personal"); // and so it knows what was said before
  client.join(43); // of another class
  line.ack(await line.heard("join"), { r: 43, epoch: 1, top: 0 });
  client.send(43, "held, too");
  const sent = [await line.heard("send"), await line.heard("send")];
  assert.ok(Date.now() - began > 900, "it did not wait");
  assert.deepEqual(sent.map(({ data }) => data.body).sort(), ["held, too", "one too many"]);
  sent.forEach((command, at) => line.ack(command, { messageId: at + 1, seq: 1, ts: 1 }));
  const since = Date.now();
  line.say({ type: "slow_down", data: { class: "cmds", retryAfter: 1 } });
  line.personal(2);
  await next("personal");
  client.typing(ROOM, true);
  client.read(ROOM, 1);
  client.read(ROOM, 2);
  const asked = client.request("members", ROOM);
  client.send(ROOM, "a command as well");
  const heard = [await line.frames.next("a command"), await line.frames.next("another"), await line.frames.next("a third")];
  assert.ok(Date.now() - since > 900, "they did not wait");
  assert.deepEqual(heard.map(({ type, data }) => [type, data.seq ?? null]).sort(), [["members", null], ["read", 2], ["send", null]]);
  line.ack(heard.find(({ type }) => type === "members"), { members: [] });
  assert.deepEqual(await asked, { members: [] });
  assert.equal(of("undelivered").length, 0);
  line.say({ type: "slow_down", data: { class: "cmds", retryAfter: 30 } });
  line.personal(3);
  await next("personal");
  const waiting = assert.rejects(client.request("members", ROOM), ServerAway);
  line.socket.terminate();
  await waiting; // not for half a minute
});

test("what waits goes in the order in which it was said, and of one marker the newest", async (context) => {
  const { server, client, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  line.say({ type: "slow_down", data: { class: "cmds", retryAfter: 1 } });
  line.personal(1);
  await next("personal");
  const asked = ["members", "presence"].map((type) => client.request(type, ROOM));
  client.read(ROOM, 1);
  asked.push(client.request("history", ROOM));
  client.read(43, 7);
  client.read(ROOM, 2);
  const busy = Date.now() + 1050; // its time comes, and its timer has to wait
  while (Date.now() < busy);
  asked.push(client.request("sync", undefined));
  const heard = [];
  for (let count = 0; count < 6; count += 1) heard.push(await line.frames.next("a command"));
  assert.deepEqual(heard.map(({ type, room, data }) => [type, room, data.seq]), [
    ["members", ROOM, undefined], ["presence", ROOM, undefined], ["history", ROOM, undefined],
    ["read", 43, 7], ["read", ROOM, 2], ["sync", undefined, undefined],
  ]);
  for (const command of heard) line.ack(command);
  await Promise.all(asked);
});

test("a marker or a leave that is refused for a moment is said again, if it is still the newest", async (context) => {
  const { server, client, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  client.read(41, 1);
  client.read(ROOM, 2);
  client.read(ROOM, 3);
  client.leave(43);
  client.leave(44);
  client.read(45, 1);
  client.read(46, 1);
  for (const code of [4291, 5002, 4292, 4292, 5003, 3004, 4291]) line.error(await line.frames.next("a command"), code);
  client.join(44); // the server has not detached us: to be left again would lose it
  line.ack(await line.heard("join"), { r: 44, epoch: 1, top: 0 });
  const again = [];
  for (let count = 0; count < 4; count += 1) again.push(await line.frames.next("a command"));
  const said = again.map(({ type, room, data = {} }) => [type, room, data.seq ?? 0]);
  assert.deepEqual(said, [["read", 41, 1], ["read", ROOM, 3], ["leave", 43, 0], ["read", 46, 1]]);
  for (const command of again) line.ack(command);
  await answered(client, line);
  assert.equal(client._asking.size, 0);
});

test("a start that is refused without a close is told, and tried again", async (context) => {
  const { server, next, of } = await opened(context);
  const first = await server.line();
  first.error({ id: "start" }, 5002, { message: "storage does not answer", retryAfter: 1 });
  const lost = await next("disconnected");
  assert.deepEqual([lost.code, lost.why], [1006, "start was refused with 5002: storage does not answer"]);
  assert.ok(lost.retrySeconds >= 1 && lost.retrySeconds <= 1.5);
  const second = await server.line();
  second.error({ id: "start" }, 2001);
  await soon(100);
  assert.equal(of("disconnected").length, 1, "the close that follows says more");
  second.socket.close(4001);
  assert.equal((await next("ended")).code, 4001);
});

for (const retryAfter of ["soon", [5], {}, -1000, null]) {
  test(`a start that is refused with a wait that is none costs a try: ${JSON.stringify(retryAfter)}`, async (context) => {
    const { server, client, next } = await opened(context);
    client.send(ROOM, "kept");
    const data = { code: 5002, error: "STORAGE_UNAVAILABLE", message: "away", category: "server", recoverable: true };
    (await server.line()).sayWrong({ type: "error", id: "start", data: { ...data, retryAfter } });
    const { retrySeconds } = await next("disconnected");
    assert.ok(retrySeconds >= 0 && retrySeconds <= 0.5, `${retrySeconds} s`);
    const second = await server.ready([ROOM, 0]);
    assert.equal((await second.heard("send")).data.body, "kept");
  });
}

test("a page of nothing but what is hidden is passed over, and what lies beyond it is fetched", async (context) => {
  const { server, next, of } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  line.message(ROOM, 6);
  const first = await line.heard("history");
  line.ack(first, { messages: [], skip: [1, 2, 3], top: 6, epoch: 1 });
  const second = await line.heard("history");
  assert.equal(second.data.after, 3);
  line.ack(second, { messages: [stored(4)], skip: [5], top: 6, epoch: 1 });
  while ((await next("said")).seq !== 6);
  assert.deepEqual(seqs(of("said")), [4, 6]);
});

test("a log that was replaced while the line was cut between ready and gap is still found out", async (context) => {
  const { server, next, of } = await opened(context);
  const first = await server.ready([ROOM, 10, 1]);
  first.message(ROOM, 11);
  await next("said");
  first.socket.close(4200);
  const second = await server.line(); // the database was restored meanwhile
  second.say(second.readyFrame({ rooms: [{ ...PLACE, r: ROOM, epoch: 2, top: 4 }] }));
  second.socket.close(4200);
  const third = await server.ready([ROOM, 4, 2]);
  assert.deepEqual(third.start.resume.rooms, { [ROOM]: { seq: 11, epoch: 1 } });
  third.say({ type: "gap", room: ROOM, data: { from: 1, to: 4, top: 4, reset: true } });
  await next("replaced");
  third.message(ROOM, 5);
  assert.equal((await next("said")).seq, 5);
  third.socket.close(4200);
  const fourth = await server.line();
  assert.deepEqual(fourth.start.resume.rooms, { [ROOM]: { seq: 5, epoch: 2 } });
  assert.equal(of("replaced").length, 1);
});

test("what was fetched of a log that is no more is thrown away", async (context) => {
  const { server, next, of } = await opened(context);
  const line = await server.ready([ROOM, 2, 1]);
  line.message(ROOM, 9);
  const asked = await line.heard("history");
  line.say({ type: "gap", room: ROOM, data: { from: 1, to: 20, top: 20, reset: true } });
  line.ack(asked, { messages: [stored(30, { body: "of the old log" })] });
  line.message(ROOM, 21);
  assert.equal((await next("said")).seq, 21);
  assert.deepEqual(seqs(of("said")), [21]);
});

test("presence is known while the line is up, and what changed over a cut is told", async (context) => {
  const { server, client, next, of } = await opened(context);
  const ann = { user: 7, name: "Ann", status: "online", activity: "" };
  const ben = { user: 8, name: "Ben", status: "online", activity: "" };
  const first = await server.ready([ROOM, 0]);
  assert.equal(client.here(ROOM), null);
  first.say({ type: "presence_state", room: ROOM, data: { users: [ann, ben] } });
  await next("presence");
  assert.deepEqual([...client.here(ROOM).keys()], [7, 8]);
  first.say({ type: "presence_diff", rooms: [1, ROOM], data: { joins: [{ ...ben, status: "away" }], leaves: [] } });
  assert.equal((await next("presence")).here[0].status, "away");
  first.socket.close(4200);
  await next("disconnected");
  assert.equal(client.here(ROOM), null);
  const second = await server.ready([ROOM, 0]);
  second.say({ type: "presence_state", room: ROOM, data: { users: [ann] } });
  const { here, gone } = await next("presence");
  assert.deepEqual([here, gone.map((person) => person.userId)], [[], [8]]);
  assert.equal(of("presence").length, 3);
});

// The server tells who comes in that somebody types, and nothing where nobody does.
test("nobody types any more once the line is lost", async (context) => {
  const { server, next, of, log } = await opened(context);
  const typing = (names) => ({ type: "typing", room: ROOM, data: { users: Object.keys(names).map(Number), names } });
  const first = await server.ready([ROOM, 0]);
  first.say(typing({ 8: "Ben" }));
  first.socket.close(4200);
  await next("disconnected");
  assert.deepEqual(log.slice(-2).map(({ type }) => type), ["typing", "disconnected"]);
  assert.deepEqual(of("typing").map(({ names }) => [...names.values()]), [["Ben"], []]);
  const second = await server.ready([ROOM, 0]);
  second.say(typing({ 8: "Ben" }), typing({ 7: "Ann" })); // our own is left out
  second.socket.close(4200);
  await next("disconnected");
  assert.deepEqual(of("typing").map(({ names }) => [...names.values()]), [["Ben"], [], ["Ben"], []]);
});

test("nobody types any more where the client ends", async (context) => {
  const { server, next, log } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  line.say({ type: "typing", room: ROOM, data: { users: [8], names: { 8: "Ben" } } });
  line.socket.close(4001, "signed out");
  await next("ended");
  assert.deepEqual(log.slice(-3).map(({ type, names }) => [type, names && [...names.values()]]), [
    ...[["typing", ["Ben"]], ["typing", []], ["ended", undefined]],
  ]);
});

test("rooms that refuse are told, and one that was left is not resumed", async (context) => {
  const { server, client, next } = await opened(context, { join: [1, 2, 3, 4] });
  const refused = assert.rejects(client.join(2), Refused);
  const first = await server.ready([1, 0], { r: 2, code: 3004, error: "NOT_MEMBER" }, [3, 0], [4, 0]);
  await refused;
  first.say({ type: "member", room: 3, data: { user: 7, role: "member", change: "left" } });
  assert.deepEqual(await next("roomRefused"), { type: "roomRefused", roomId: 3, code: 3004, why: "no member any more" });
  client.leave(4);
  assert.equal((await first.heard("leave")).room, 4);
  first.socket.close(4200);
  const second = await server.line();
  assert.deepEqual(Object.keys(second.start.resume.rooms), ["1"]);
});
