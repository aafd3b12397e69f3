// The client against a scripted server: what it says, what it tells, and what it does when the line goes.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import WebSocket from "ws";
import { Client, ClientRefused, Refused, ServerAway } from "../index.js";
import { HELLO, PLACE, ScriptedServer, stored, Waiting } from "./scripted_server.js";

const ROOM = 42;
const SMALL = { ...HELLO, limits: { ...HELLO.limits, frame: 400 } };

// A client with what it told; both ends are closed when the test is over.
async function opened(context, { token = "a token", hello = HELLO, isHelloWrong = false, join = [ROOM] } = {}) {
  const server = new ScriptedServer(hello, isHelloWrong);
  const told = new Waiting();
  const log = [];
  const acts = {};
  const on = (type, act) => (acts[type] = act);
  const onEvent = (event) => {
    log.push(event);
    told.put(event);
    acts[event.type]?.(event);
  };
  const client = new Client({ url: await server.address(), token, device: "test", WebSocket, onEvent });
  context.after(async () => {
    const closing = client.close();
    server.close();
    await closing;
  });
  for (const room of join) client.join(room);
  client.open();
  const next = async (type) => {
    for (;;) {
      const event = await told.next(type);
      if (event.type === type) return event;
    }
  };
  const of = (type) => log.filter((event) => event.type === type);
  return { server, client, next, of, on, log };
}

// Everything that the server has said before is told.
async function answered(client, line) {
  const answer = client.request("members", ROOM);
  line.ack(await line.heard("members"));
  await answer;
}

const seqs = (events) => events.map((event) => event.seq);
const soon = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

test("it starts with its token and rooms, and resumes with the seq and epoch of each", async (context) => {
  const { server, client, next, of } = await opened(context);
  const first = await server.ready([ROOM, 5, 3]);
  assert.deepEqual(first.start, { token: "a token", device: "test", rooms: [{ r: ROOM }] });
  await client.join(ROOM);
  first.message(ROOM, 6);
  assert.equal((await next("said")).body, "m6");
  first.socket.close(4200);
  assert.equal((await next("disconnected")).code, 4200);
  const second = await server.ready([ROOM, 7, 3]);
  assert.deepEqual(second.start.resume, { user: { useq: 0, epoch: 1 }, rooms: { [ROOM]: { seq: 6, epoch: 3 } } });
  assert.deepEqual(second.start.rooms, []);
  second.message(ROOM, 7);
  await next("said");
  assert.deepEqual(of("connected").map((event) => event.isAgain), [false, true]);
});

test("each message is told once and in order, and a hole is filled from history", async (context) => {
  const { server, next, of } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  for (const seq of [1, 1, 2, 5, 4]) line.message(ROOM, seq);
  const asked = await line.heard("history");
  assert.deepEqual([asked.room, asked.data.after], [ROOM, 2]);
  line.ack(asked, { messages: [stored(3), stored(4)] });
  line.message(ROOM, 2);
  line.say({ type: "skip", room: ROOM, seq: 6 });
  line.sayWrong({ type: "of tomorrow", room: ROOM, seq: 7, data: {} }, { type: "what" });
  line.message(ROOM, 8);
  while ((await next("said")).seq !== 8);
  assert.deepEqual(seqs(of("said")), [1, 2, 3, 4, 5, 8]);
  assert.ok(line.frames.isEmpty, "it asked for more than was missing");
});

test("a message right behind the answer to a join is not lost", async (context) => {
  const { server, client, next } = await opened(context, { join: [] });
  const line = await server.ready();
  await next("connected");
  const joined = client.join(ROOM);
  const asked = await line.heard("join");
  line.socket._socket.cork(); // both frames in one segment
  line.ack(asked, { r: ROOM, epoch: 1, top: 5 });
  line.message(ROOM, 6);
  line.socket._socket.uncork();
  await joined;
  assert.equal((await next("said")).seq, 6);
});

test("a line is sent again under its client id until it is stored, and its own copy is as good as the ack", async (context) => {
  const { server, client, next, of } = await opened(context);
  const first = await server.ready([ROOM, 0]);
  await next("connected");
  const clientId = client.send(ROOM, "hello");
  client.send(ROOM, "and on");
  assert.deepEqual(client.pending(ROOM).map((line) => line.body), ["hello", "and on"]);
  const sent = await first.heard("send");
  assert.deepEqual(sent.data, { clientId, body: "hello" });
  first.socket.terminate(); // the ack is lost
  const second = await server.line();
  second.say(second.readyFrame({ rooms: [{ ...PLACE, r: ROOM, top: 1 }] }));
  const again = await second.heard("send");
  assert.equal(again.data.clientId, clientId);
  second.message(ROOM, 1, { sender: 7, body: "hello", clientId });
  assert.deepEqual(await next("confirmed"), { type: "confirmed", roomId: ROOM, clientId, seq: 1 });
  assert.equal((await next("said")).isOwn, true);
  const other = await second.heard("send");
  assert.equal(other.data.body, "and on");
  second.ack(again, { messageId: 1, seq: 1, ts: 1, duplicate: true });
  second.ack(other, { messageId: 2, seq: 2, ts: 1 });
  await client.waitSent();
  assert.deepEqual(seqs(of("confirmed")), [1, 2]);
  assert.deepEqual([client.unsent, client.pending(ROOM)], [0, []]);
});

test("a line that an earlier client was given is said again under its id", async (context) => {
  const { server, client } = await opened(context);
  assert.equal(client.send(ROOM, "kept over a reload", { clientId: "an id of before" }), "an id of before");
  assert.throws(() => client.send(ROOM, "kept over a reload", "an id of before"), TypeError); // it would be stored twice
  const line = await server.ready([ROOM, 1]);
  const sent = await line.heard("send");
  assert.deepEqual(sent.data, { clientId: "an id of before", body: "kept over a reload" });
  line.ack(sent, { messageId: 1, seq: 1, ts: 1, duplicate: true });
  await client.waitSent();
});

test("whatever a client id is, each answer finds what was asked", async (context) => {
  const { server, client, next, of } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  let answer;
  const asking = client.request("members", ROOM).then((data) => (answer = data));
  const asked = await line.heard("members");
  const clientIds = ["c1", "c2", "c3", "c4", "start", "x".repeat(65), "x".repeat(255), "\u{1F600}".repeat(255), "ключ\n"];
  for (const clientId of clientIds) assert.equal(client.send(ROOM, `said as ${clientId}`, { clientId }), clientId);
  client.send(43, "elsewhere", { clientId: "c1" });
  const sent = [await line.heard("send"), await line.heard("send")];
  assert.equal(new Set([asked.id, ...sent.map(({ id }) => id)]).size, 3);
  line.ack(sent[1], { messageId: 9, seq: 9, ts: 1 });
  assert.deepEqual(await next("confirmed"), { type: "confirmed", roomId: 43, clientId: "c1", seq: 9 });
  let command = sent[0];
  for (const [at, clientId] of clientIds.entries()) {
    assert.deepEqual([command.data.clientId, command.id.length <= 64], [clientId, true]);
    line.ack(command, { messageId: 1, seq: at + 1, ts: 1 });
    assert.deepEqual(await next("confirmed"), { type: "confirmed", roomId: ROOM, clientId, seq: at + 1 });
    if (at + 1 < clientIds.length) command = await line.heard("send");
  }
  assert.deepEqual([answer, client.unsent, of("undelivered")], [undefined, 0, []]);
  line.ack(asked, { members: [] });
  assert.deepEqual(await asking, { members: [] });
});

test("a client id that is pending is the same line, or refused at the door", async (context) => {
  const { server, client, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  for (let times = 0; times < 2; times += 1) client.send(ROOM, "once", { clientId: "k" });
  assert.throws(() => client.send(ROOM, "else", { clientId: "k" }), (fault) => fault instanceof Refused && fault.code === 3010);
  assert.equal(client.unsent, 1);
  client.send(43, "else", { clientId: "k" });
  const sent = [await line.heard("send"), await line.heard("send")];
  assert.deepEqual(sent.map(({ room, data }) => [room, data.body]), [[ROOM, "once"], [43, "else"]]);
  for (const command of sent) line.ack(command, { messageId: 1, seq: 1, ts: 1 });
  await client.waitSent();
  assert.deepEqual([(await next("confirmed")).roomId, (await next("confirmed")).roomId], [ROOM, 43]);
});

test("a message of ours that says something else under the client id of a line does not confirm it", async (context) => {
  const { server, client, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  client.send(ROOM, "of now", { clientId: "k" });
  const sent = await line.heard("send");
  line.message(ROOM, 1, { sender: 7, body: "of before", clientId: "k" });
  assert.equal((await next("said")).body, "of before");
  assert.equal(client.unsent, 1);
  line.error(sent, 3010, { recoverable: false });
  assert.equal((await next("undelivered")).code, 3010);
});

test("what is no line is refused at the door, and disturbs nobody", async (context) => {
  const { server, client, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  for (const body of [undefined, null, 42, 42n, ["a"], {}, new Uint8Array(2)]) {
    assert.throws(() => client.send(ROOM, body), /no text/);
    await assert.rejects(client.edit(ROOM, 1, body), /no text/);
  }
  for (const clientId of ["", "x".repeat(256), 42, {}]) assert.throws(() => client.send(ROOM, "hello", { clientId }), /no client id/);
  for (const seq of ["7", -1, 1.5, null, undefined, {}, NaN]) assert.throws(() => client.read(ROOM, seq), /cannot be `seq`/);
  await assert.rejects(client.request("members", ROOM, { of: 42n }), TypeError);
  assert.equal(client.unsent, 0);
  assert.match(client.send(ROOM, "hello", { clientId: null }), /^[0-9a-f]{32}$/); // null is none
  assert.equal((await line.heard("send")).data.body, "hello");
});

test("how many are recent is a whole number", async (context) => {
  const { server, client, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  for (const recent of ["20", 1.5, -1, null, NaN, true]) {
    for (const room of [43, ROOM]) await assert.rejects(client.join(room, { recent }), /cannot be `recent`/); // also one that is joined
  }
  client.join(43, { recent: 2 });
  line.ack(await line.heard("join"), { r: 43, epoch: 1, top: 5 });
  assert.equal((await line.heard("history")).data.after, 3);
});

test("a token that no header can carry ends the client with 4001", async (context) => {
  for (const wrong of ["", "a token\n", " a token", "a\ttoken", "a\0token", "ü", "\ud800", 42]) {
    for (const token of [wrong, async () => wrong]) {
      if (token === 42) continue; // refused where it is made
      const { server, client, next, of } = await opened(context, { token });
      const { code, why } = await next("ended");
      assert.deepEqual([code, why.startsWith("the token is")], [4001, true]);
      await assert.rejects(client.join(ROOM), ClientRefused);
      assert.deepEqual([of("disconnected"), server.lines.isEmpty], [[], true]);
    }
  }
});

test("on each connection it is told how a room stands", async (context) => {
  const { server, next } = await opened(context);
  const first = await server.line();
  const item = { ...PLACE, r: ROOM, top: 9, read: 7, unread: 2, members: 3 };
  first.say(first.readyFrame({ rooms: [item] }));
  const entered = { type: "entered", roomId: ROOM, top: 9, read: 7, unread: 2, members: 3 };
  assert.deepEqual(await next("entered"), entered);
  first.socket.close(4200);
  const second = await server.line();
  second.say(second.readyFrame({ rooms: [{ ...item, read: 9 }] }));
  assert.deepEqual(await next("entered"), { ...entered, read: 9 });
});

test("a server that knows no stream of the user is borne, and none is resumed", async (context) => {
  const { server, client, next } = await opened(context);
  const first = await server.line();
  const { useq, userEpoch, ...data } = first.readyFrame({ rooms: [{ ...PLACE, r: ROOM, top: 1 }] }).data;
  first.sayWrong({ type: "ready", id: "start", data });
  first.socket.close(4200);
  await next("disconnected");
  client.retryNow();
  const second = await server.line();
  assert.deepEqual(second.start.resume, { rooms: { [ROOM]: { seq: 1, epoch: 1 } } });
});

test("one line of a room is under way at a time, and rooms do not wait for each other", async (context) => {
  const { server, client, next } = await opened(context, { join: [1, 2] });
  const line = await server.ready([1, 0], [2, 0]);
  await next("connected");
  for (const [room, body] of [[1, "a"], [1, "b"], [2, "c"]]) client.send(room, body);
  const [a, c] = [await line.heard("send"), await line.heard("send")];
  assert.deepEqual([a.data.body, c.data.body], ["a", "c"]);
  line.ack(a, { messageId: 1, seq: 1, ts: 1 });
  assert.equal((await line.heard("send")).data.body, "b");
});

test("an error that may pass is waited out, one for good is told, and the next line goes", async (context) => {
  const { server, client, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  const clientId = client.send(ROOM, "too fast");
  client.send(ROOM, "next");
  const began = Date.now();
  line.error(await line.heard("send"), 4291, { recoverable: true, retryAfter: 1 });
  assert.deepEqual(await next("delayed"), { type: "delayed", roomId: ROOM, clientId, retrySeconds: 1, why: "error 4291" });
  const again = await line.heard("send");
  assert.ok(Date.now() - began > 900, "it did not wait");
  assert.equal(again.data.clientId, clientId);
  line.error(again, 1005, { recoverable: false });
  const { code, body, why } = await next("undelivered");
  assert.deepEqual([code, body, why], [1005, "too fast", "error 1005"]);
  assert.equal((await line.heard("send")).data.body, "next");
});

const UNREADABLE = [
  ["ack", {}],
  ["ack", { seq: "1" }],
  ["error", { error: "X", recoverable: false }],
  ["error", { code: {}, error: "X", recoverable: true }],
  ["error", { code: 4291, error: "X", recoverable: true, retryAfter: {} }],
];
for (const [type, data] of UNREADABLE) {
  const name = `${type} ${JSON.stringify(data)}`;
  test(`of an answer that cannot be read the line is said again: ${name}`, async (context) => {
    const { server, client, next } = await opened(context);
    const first = await server.ready([ROOM, 0]);
    await next("connected");
    const clientId = client.send(ROOM, "hello");
    first.sayWrong({ type, id: (await first.heard("send")).id, data });
    assert.match((await next("disconnected")).why, /no greenroom/);
    const second = await server.ready([ROOM, 0]);
    const again = await second.heard("send");
    assert.equal(again.data.clientId, clientId);
    second.ack(again, { messageId: 1, seq: 1, ts: 1 });
    assert.deepEqual(await next("confirmed"), { type: "confirmed", roomId: ROOM, clientId, seq: 1 });
  });
}

test("a wait that is longer than a timer takes is long, and not none", async (context) => {
  const { server, client, next, of } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  client.send(ROOM, "later");
  line.error(await line.heard("send"), 4291, { recoverable: true, retryAfter: 3_000_000 });
  await next("delayed");
  line.say({ type: "reconnect", data: { after: 3e9, deadline: 4e9, reason: "rebalance", resume: true } });
  line.say({ type: "slow_down", data: { class: "cmds", retryAfter: 3_000_000 } });
  line.sayWrong({ type: "of_tomorrow" });
  await next("other");
  client.request("ping").catch(() => {}); // waits too
  await soon(100);
  assert.deepEqual([of("disconnected").length, line.frames.isEmpty], [0, true]);
});

test("a line that no frame can carry is told, and never sent", async (context) => {
  const { server, client, next } = await opened(context, { hello: SMALL });
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  client.send(ROOM, "ü".repeat(200));
  client.send(ROOM, "short");
  assert.equal((await next("undelivered")).code, 1003);
  assert.equal((await line.heard("send")).data.body, "short");
});

test("what became of a line is told when its sender has its client id", async (context) => {
  const { server, client, next, on } = await opened(context, { hello: SMALL });
  await server.ready([ROOM, 0]);
  await next("connected");
  const mine = new Set();
  const unknown = [];
  on("undelivered", ({ clientId }) => mine.has(clientId) || unknown.push(clientId));
  for (let count = 0; count < 2; count += 1) mine.add(client.send(ROOM, "x".repeat(400)));
  assert.equal(client.unsent, 2);
  await client.waitSent();
  assert.deepEqual([unknown, mine.size], [[], 2]);
});

test("a connection that is closed with 1009 gives up the line that was too big", async (context) => {
  const { server, client, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  client.send(ROOM, "too big for who sits in between");
  await line.heard("send");
  line.socket.close(1009);
  assert.equal((await next("undelivered")).code, 1003);
  assert.ok((await next("disconnected")).retrySeconds >= 1);
});

test("a command that no frame can carry is refused, and never sent", async (context) => {
  const { server, client, next, of } = await opened(context, { hello: SMALL });
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  const isTooBig = (fault) => fault instanceof Refused && fault.code === 1003;
  await assert.rejects(client.edit(ROOM, 1, "ü".repeat(200)), isTooBig);
  await assert.rejects(client.request("report", ROOM, { reason: "x".repeat(400) }), isTooBig);
  await answered(client, line);
  assert.deepEqual([client._asking.size, of("disconnected")], [0, []]);
});

test("a connection that is closed with 1009 costs no line anything when a command was longer", async (context) => {
  for (const isAnswered of [false, true]) {
    const { server, client, next, of } = await opened(context);
    const first = await server.ready([ROOM, 0]);
    await next("connected");
    const edit = client.edit(ROOM, 1, "x".repeat(500)).catch((fault) => fault);
    const asked = await first.heard("edit");
    if (isAnswered) first.ack(asked); // it got through, and so does what is shorter
    if (isAnswered) await edit;
    client.send(ROOM, "short");
    await first.heard("send");
    first.socket.close(1009);
    await next("disconnected");
    assert.equal((await edit) instanceof ServerAway, !isAnswered);
    const second = await server.ready([ROOM, 0]);
    second.ack(await second.heard("send"), { messageId: 1, seq: 1, ts: 1 });
    await client.waitSent();
    assert.deepEqual([of("confirmed").length, of("undelivered")], [1, []]);
  }
});

test("a connection that is closed with 1009 costs no line anything when its start was longer", async (context) => {
  const { server, client, next, of } = await opened(context, { token: "t".repeat(500) });
  const first = await server.ready([ROOM, 0]); // it got through, and so does what is shorter
  await next("connected");
  client.send(ROOM, "short");
  await first.heard("send");
  first.socket.close(1009);
  await next("disconnected");
  const second = await server.ready([ROOM, 0]);
  second.ack(await second.heard("send"), { messageId: 1, seq: 1, ts: 1 });
  await client.waitSent();
  assert.deepEqual([of("confirmed").length, of("undelivered")], [1, []]);
});

test("of several lines a connection that is closed with 1009 gives up the longest, with all that goes with it", async (context) => {
  const { server, client, next, of } = await opened(context);
  const first = await server.ready([ROOM, 0]);
  await next("connected");
  client.watch([8]); // is under way as well
  client.send(ROOM, "files", { attachments: ["k".repeat(100)] });
  client.send(43, "x".repeat(50));
  client.send(44, "ü".repeat(40));
  for (const type of ["watch", "send", "send", "send"]) await first.heard(type);
  first.socket.close(1009);
  assert.equal((await next("undelivered")).body, "files");
  const second = await server.ready([ROOM, 0]);
  const sent = [await second.heard("send"), await second.heard("send")];
  assert.deepEqual(sent.map(({ room }) => room), [43, 44]);
  second.socket.close(1009);
  assert.equal((await next("undelivered")).roomId, 44);
  const third = await server.ready([ROOM, 0]);
  third.ack(await third.heard("send"), { messageId: 1, seq: 1, ts: 1 });
  await client.waitSent();
  assert.deepEqual([of("confirmed").map(({ roomId }) => roomId), of("undelivered").length], [[43], 2]);
});

test("a token is asked for anew at each connection; after 4002 once at once, and then it ends", async (context) => {
  let asked = 0;
  const { server, client, next, of } = await opened(context, { token: async () => `token ${++asked}` });
  const first = await server.ready([ROOM, 0]);
  assert.equal(first.start.token, "token 1");
  await next("connected");
  first.socket.close(4002, "token expired");
  assert.equal((await next("disconnected")).retrySeconds, 0);
  const second = await server.line();
  assert.equal(second.start.token, "token 2");
  second.socket.close(4002, "token expired");
  assert.deepEqual(await next("ended"), { type: "ended", code: 4002, why: "token expired" });
  assert.equal(of("disconnected").length, 1);
  await assert.rejects(client.join(ROOM), ClientRefused);
});

test("a token that cannot be asked for anew ends it with 4002 at once", async (context) => {
  const { server, next } = await opened(context);
  (await server.ready([ROOM, 0])).socket.close(4002, "token expired");
  assert.equal((await next("ended")).code, 4002);
});

test("a token function that throws is tried again, unless it says that there is no use", async (context) => {
  let tries = 0;
  const token = () => {
    tries += 1;
    if (tries === 1) throw new Error("the network is away");
    throw new ClientRefused(0, "signed out");
  };
  const { next } = await opened(context, { token });
  assert.match((await next("disconnected")).why, /the network is away/);
  assert.equal((await next("ended")).why, "signed out");
});

test("token_expiring is answered with refresh on the same connection", async (context) => {
  let asked = 0;
  const { server, next, of } = await opened(context, { token: () => `token ${++asked}` });
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  line.say({ type: "token_expiring", data: { at: Date.now() + 60000 } });
  const refresh = await line.heard("refresh");
  assert.deepEqual(refresh.data, { token: "token 2" });
  line.ack(refresh);
  line.say({ type: "token_expiring", data: { at: Date.now() + 60000 } });
  line.error(await line.heard("refresh"), 1004); // of a server that does not know it
  line.message(ROOM, 1);
  await next("said");
  assert.equal(of("disconnected").length, 0);
});

test("the token is renewed once at a time, however often the server says that it expires", async (context) => {
  let asked = 0;
  let letGo;
  const mayGo = new Promise((resolve) => (letGo = resolve));
  const token = async () => {
    asked += 1;
    if (asked > 1) await mayGo;
    return `token ${asked}`;
  };
  const { server, next } = await opened(context, { token });
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  for (let count = 0; count < 50; count += 1) line.say({ type: "token_expiring", data: { at: 1 } });
  line.message(ROOM, 1);
  await next("said");
  assert.equal(asked, 2);
  letGo();
  const first = await line.heard("refresh");
  line.say({ type: "token_expiring", data: { at: 2 } }); // of the new one, maybe
  line.message(ROOM, 2);
  await next("said");
  assert.equal(asked, 2);
  line.ack(first);
  const second = await line.heard("refresh");
  assert.deepEqual(second.data, { token: "token 3" });
  line.ack(second);
  line.say({ type: "token_expiring", data: { at: 3 } });
  assert.deepEqual((await line.heard("refresh")).data, { token: "token 4" });
});

test("a token that comes when the connection that it was asked for is lost is shown to nobody", async (context) => {
  let asked = 0;
  let answerLate;
  const token = () => {
    asked += 1;
    if (asked === 2) return new Promise((resolve) => (answerLate = () => resolve("token 2")));
    if (asked === 3) setImmediate(answerLate); // behind this one, and before the next connection is there
    return `token ${asked}`;
  };
  const { server, client, next } = await opened(context, { token });
  const first = await server.ready([ROOM, 0]);
  await next("connected");
  first.say({ type: "token_expiring", data: { at: 1 } });
  await answered(client, first);
  first.socket.close(4200);
  const second = await server.ready([ROOM, 0]);
  assert.equal(second.start.token, "token 3");
  await next("connected");
  await answered(client, second); // and no `refresh`
});

test("no wait that a server names is heeded for longer than five minutes", async (context) => {
  const { server, client, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  client.send(ROOM, "later");
  line.error(await line.heard("send"), 4291, { recoverable: true, retryAfter: 86400 });
  assert.equal((await next("delayed")).retrySeconds, 300);
  line.say({ type: "slow_down", data: { class: "cmds", retryAfter: 86400 } });
  line.message(ROOM, 1);
  await next("said");
  const seconds = client._pace.waitSeconds("cmds", performance.now() / 1000);
  assert.ok(seconds > 299 && seconds <= 300, `${seconds} s`);
});

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
  assert.ok(waited >= 190 && waited < 900, `${waited} ms`);
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
  line.say({ type: "slow_down", data: { class: "send", retryAfter: 1 } });
  line.error(refused, 4291, { recoverable: true, retryAfter: 1 });
  const began = Date.now();
  await soon(50);
  client.join(43); // of another class
  line.ack(await line.heard("join"), { r: 43, epoch: 1, top: 0 });
  client.send(43, "held, too");
  const sent = [await line.heard("send"), await line.heard("send")];
  assert.ok(Date.now() - began > 900, "it did not wait");
  assert.deepEqual(sent.map(({ data }) => data.body).sort(), ["held, too", "one too many"]);
  sent.forEach((command, at) => line.ack(command, { messageId: at + 1, seq: 1, ts: 1 }));
  line.say({ type: "slow_down", data: { class: "cmds", retryAfter: 1 } });
  await soon(50);
  const since = Date.now();
  client.typing(ROOM, true);
  client.read(ROOM, 1);
  client.read(ROOM, 2);
  const asked = client.request("members", ROOM);
  client.send(ROOM, "a command as well");
  const heard = [await line.frames.next("a command"), await line.frames.next("another"), await line.frames.next("a third")];
  assert.ok(Date.now() - since > 850, "they did not wait");
  assert.deepEqual(heard.map(({ type, data }) => [type, data.seq ?? null]).sort(), [["members", null], ["read", 2], ["send", null]]);
  line.ack(heard.find(({ type }) => type === "members"), { members: [] });
  assert.deepEqual(await asked, { members: [] });
  assert.equal(of("undelivered").length, 0);
  line.say({ type: "slow_down", data: { class: "cmds", retryAfter: 30 } });
  await soon(50);
  const waiting = assert.rejects(client.request("members", ROOM), ServerAway);
  line.socket.terminate();
  await waiting; // not for half a minute
});

test("what waits goes in the order in which it was said, and of one marker the newest", async (context) => {
  const { server, client, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  line.say({ type: "slow_down", data: { class: "cmds", retryAfter: 1 } });
  await soon(50);
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

const member = (seq, user, change, role = "member") => ({ type: "member", room: ROOM, seq, ts: 9, data: { user, role, change } });
const told = (seq, userId, isActive, role = "member") => ({ type: "member", roomId: ROOM, userId, isActive, seq, atMs: 9, role });

test("who was removed while they were away is told so behind the refusal and once, before the rooms are live", async (context) => {
  const { server, next, of } = await opened(context);
  (await server.ready([ROOM, 0])).socket.close(4200);
  const line = await server.line();
  const refused = [{ r: ROOM, code: 3004, error: "NOT_MEMBER" }];
  const end = member(3, 7, "left");
  line.say(line.readyFrame({ rooms: [], refused }), member(2, 8, "left"), end, end);
  await next("roomRefused");
  assert.deepEqual(await next("member"), told(3, 7, false));
  line.say({ type: "live", data: { rooms: [] } }, member(5, 7, "left"));
  line.sayWrong({ type: "of_tomorrow" });
  await next("other");
  assert.equal(of("member").length, 1);
});

test("an end that comes when the rooms are live, or of a room that was left, is of none of ours", async (context) => {
  for (const hasLeft of [false, true]) {
    const { server, client, next, of, on } = await opened(context);
    (await server.ready([ROOM, 0])).socket.close(4200);
    if (hasLeft) on("roomRefused", () => client.leave(ROOM));
    const line = await server.line();
    const refused = [{ r: ROOM, code: 3004, error: "NOT_MEMBER" }];
    line.say(line.readyFrame({ rooms: [], refused }));
    if (!hasLeft) line.say({ type: "live", data: { rooms: [] } });
    line.say(member(3, 7, "left"));
    line.sayWrong({ type: "of_tomorrow" });
    await next("other");
    assert.deepEqual(of("member"), []);
  }
});

test("who came or went is told in its place and once, and our own end wherever we are", async (context) => {
  const { server, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  line.say({ type: "skip", room: ROOM, seq: 1 });
  line.say(...[member(3, 8, "left"), member(2, 8, "joined"), member(2, 8, "joined"), member(4, 9, "joined", "admin")]);
  assert.deepEqual(await next("member"), told(2, 8, true));
  assert.deepEqual(await next("member"), told(3, 8, false));
  assert.deepEqual(await next("member"), told(4, 9, true, "admin"));
  line.say(member(900, 7, "left"));
  assert.deepEqual(await next("member"), told(900, 7, false));
  assert.deepEqual(await next("roomRefused"), { type: "roomRefused", roomId: ROOM, code: 3004, why: "no member any more" });
});

test("who leaves the room is here no more, also when history tells it, and who is back since stays", async (context) => {
  const { server, client, next, on } = await opened(context, { join: [] });
  client.join(ROOM, { recent: 2 });
  const line = await server.ready([ROOM, 2]);
  const users = [7, 8, 9, 10].map((user) => ({ user, name: `P${user}`, status: "online", activity: "" }));
  line.say({ type: "presence_state", room: ROOM, data: { users } });
  const went = { ts: 9, change: "left", role: "member" };
  let changes = [{ ...went, seq: 1, user: 8 }, { ...went, seq: 2, user: 8, change: "joined" }];
  line.ack(await line.heard("history"), { messages: [], changes });
  const hereThen = [];
  on("member", () => hereThen.push([...client.here(ROOM).keys()]));
  line.say(member(3, 9, "left"));
  assert.equal((await next("presence")).here.length, 4);
  const { here, gone } = await next("presence");
  assert.deepEqual([here, gone.map(({ userId, status }) => [userId, status])], [[], [[9, "offline"]]]);
  assert.deepEqual(hereThen.at(-1), [7, 8, 10]); // as `member` is told already
  assert.deepEqual([...client.here(ROOM).keys()], [7, 8, 10]);
  line.message(ROOM, 5);
  changes = [{ ...went, seq: 4, user: 10 }];
  line.ack(await line.heard("history"), { messages: [], changes });
  assert.deepEqual((await next("presence")).gone.map(({ userId }) => userId), [10]);
  line.say({ type: "member", room: ROOM, data: { user: 8, role: "member", change: "left" } });
  assert.deepEqual((await next("presence")).gone.map(({ userId }) => userId), [8]);
  assert.deepEqual([...client.here(ROOM).keys()], [7]);
});

test("a room that may let us in later is asked again", async (context) => {
  const { server, client } = await opened(context);
  const line = await server.ready({ r: ROOM, code: 5002, error: "STORAGE_UNAVAILABLE" });
  const asked = await line.heard("join");
  line.ack(asked, { r: ROOM, epoch: 1, top: 5 });
  await client.join(ROOM);
});

test("a room that is joined as `connected` is told is asked for once, also when it was left since `start`", async (context) => {
  for (const wasLeft of [false, true]) {
    const { server, client, next, of, on } = await opened(context, { join: wasLeft ? [ROOM] : [] });
    on("connected", () => client.join(ROOM));
    const line = await server.line();
    if (wasLeft) client.leave(ROOM);
    line.ready(...(wasLeft ? [[ROOM, 0]] : []));
    line.ack(await line.heard("join"), { r: ROOM, epoch: 1, top: 0 });
    await next("entered");
    await answered(client, line);
    assert.equal(of("entered").length, 1);
  }
});

test("a room that is left as another is entered is not asked for", async (context) => {
  const { server, client, next, on } = await opened(context);
  const line = await server.line();
  client.join(43).catch(() => {}); // behind `start`
  on("entered", () => client.leave(43));
  line.ready([ROOM, 0]);
  await next("entered");
  assert.equal((await line.heard("leave")).room, 43);
  await answered(client, line);
});

test("a room that may let us in later is asked again on the same connection alone: the next one asks anyway", async (context) => {
  const { server, client, next, of } = await opened(context, { join: [ROOM, 43] });
  const first = await server.ready({ r: ROOM, code: 5002, error: "STORAGE_UNAVAILABLE" }, [43, 0]);
  await next("entered");
  first.socket.close(4200);
  await next("disconnected");
  client.retryNow();
  const second = await server.ready([ROOM, 0], { r: 43, code: 5002, error: "STORAGE_UNAVAILABLE" });
  const asked = await second.heard("join"); // ROOM would be before it
  assert.equal(asked.room, 43);
  second.ack(asked, { r: 43, epoch: 1, top: 0 });
  await next("entered");
  await next("entered");
  assert.deepEqual(of("entered").map(({ roomId }) => roomId), [43, ROOM, 43]);
});

test("typing, receipts and members are told as the contract says", async (context) => {
  const { server, client, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  line.say({ type: "typing", room: ROOM, data: { users: [7, 8], names: { 7: "Ann", 8: "Ben" } } });
  assert.deepEqual((await next("typing")).names, new Map([[8, "Ben"]]));
  line.say({ type: "receipts", room: ROOM, ts: 1, data: { marks: { 8: 3 } } });
  assert.deepEqual(await next("receipts"), { type: "receipts", roomId: ROOM, marks: new Map([[8, 3]]), counts: [] });
  line.say({ type: "receipts", room: ROOM, ts: 1, data: { counts: [[3, 1], [2, 300]] } });
  assert.deepEqual(await next("receipts"), { type: "receipts", roomId: ROOM, marks: new Map(), counts: [[3, 1], [2, 300]] });
  line.say({ type: "member", room: ROOM, data: { user: 9, role: "member", change: "joined" } });
  assert.deepEqual(await next("member"), { type: "member", roomId: ROOM, userId: 9, isActive: true, seq: null, atMs: null, role: "member" });
  client.typing(ROOM, true);
  assert.deepEqual((await line.heard("typing")).data, { on: true });
  client.read(ROOM, 3);
  assert.deepEqual((await line.heard("read")).data, { seq: 3 });
});

test("pings are answered, and a line on which nobody answers is given up", async (context) => {
  const { server, client, next } = await opened(context, { hello: { ...HELLO, hb: 500, hbGrace: 500 } });
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  line.say({ type: "ping" });
  await line.heard("pong");
  const { code, why } = await next("disconnected"); // silent for longer than hb and hbGrace
  assert.deepEqual([code, why], [1006, "nothing was heard for too long"]);
  await server.ready([ROOM, 0]);
  await next("connected");
  assert.equal(client.isConnected, true);
});

test("a ping that was asked for is answered by its pong, and a pong is not asked for", async (context) => {
  const { server, client, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  const asked = client.request("ping");
  const { id } = await line.heard("ping");
  line.say({ type: "pong", ts: 1 }); // that of a probe
  line.say({ type: "pong", id, ts: 1 });
  assert.deepEqual(await asked, {});
  await assert.rejects(client.request("pong"), TypeError);
});

test("nothing is told of a room that was left, whatever was under way of it, and each message once of one joined anew", async (context) => {
  const { server, client, of } = await opened(context, { join: [] });
  const page = { messages: [1, 2, 3].map((seq) => stored(seq)) };
  client.join(ROOM, { recent: 3 });
  const line = await server.ready([ROOM, 3]);
  const early = await line.heard("history");
  client.leave(ROOM);
  await line.heard("leave");
  client.join(ROOM, { recent: 3 });
  const again = await line.heard("join");
  line.ack(early, page);
  line.ack(again, { r: ROOM, epoch: 1, top: 3 });
  line.ack(await line.heard("history"), page);
  await answered(client, line);
  assert.deepEqual(seqs(of("said")), [1, 2, 3]);
});

test("a room that was left while it was asked for is left again when the server lets us in", async (context) => {
  const { server, client, next, of } = await opened(context, { join: [] });
  const line = await server.ready();
  await next("connected");
  const joined = client.join(ROOM);
  const asked = await line.heard("join");
  client.leave(ROOM);
  await line.heard("leave");
  await assert.rejects(joined, Refused);
  line.ack(asked, { r: ROOM, epoch: 1, top: 3 }); // as where it waited, and came behind `leave`
  assert.equal((await line.heard("leave")).room, ROOM);
  await answered(client, line);
  assert.deepEqual(of("entered"), []);
});

test("what is asked after a wait overtakes nothing that waited: a room that was left and joined anew is joined", async (context) => {
  const { server, client, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  line.say({ type: "slow_down", data: { class: "cmds", retryAfter: 1 } });
  await soon(50);
  client.leave(ROOM);
  const blocking = client.request("block", undefined, { user: 8 });
  const until = Date.now() + 1050;
  while (Date.now() < until); // a page that is busy: the time has come, and no timer has
  const joined = client.join(ROOM);
  const unblocking = client.request("unblock", undefined, { user: 8 });
  line.ack(await line.heard("leave"));
  line.ack(await line.heard("block"));
  line.ack(await line.heard("join"), { r: ROOM, epoch: 1, top: 0 });
  line.ack(await line.heard("unblock"));
  await Promise.all([blocking, joined, unblocking]);
});

test("what was live of a room that was left says nothing of the one that is joined anew", async (context) => {
  const { server, client, next, of } = await opened(context, { join: [] });
  const line = await server.ready();
  await next("connected");
  client.join(ROOM);
  client.leave(ROOM);
  client.join(ROOM, { recent: 2 });
  const [first, , second] = [await line.heard("join"), await line.heard("leave"), await line.heard("join")];
  line.ack(first, { r: ROOM, epoch: 1, top: 2 });
  line.say({ type: "live", data: { rooms: [ROOM] } });
  await answered(client, line);
  assert.deepEqual(of("caughtUp"), []);
  line.ack(second, { r: ROOM, epoch: 1, top: 2 });
  line.say({ type: "live", data: { rooms: [ROOM] } });
  line.ack(await line.heard("history"), { messages: [stored(1), stored(2)] });
  await next("caughtUp");
  assert.deepEqual([seqs(of("said")), of("caughtUp").length], [[1, 2], 1]);
});

test("a socket that cannot be made costs a try, and so does what no greenroom says", async (context) => {
  const told = new Waiting();
  class Forbidden {
    constructor() {
      throw new Error("an insecure WebSocket connection may not be initiated from a page loaded over HTTPS");
    }
  }
  class Policed {
    readyState = 3; // as Chromium does it: no close follows
    constructor() {
      queueMicrotask(() => this.onerror());
    }
    close() {}
  }
  for (const [WebSocket, what] of [[Forbidden, /insecure/], [Policed, /no socket/]]) {
    const client = new Client({ url: "http://127.0.0.1:1", token: "t", WebSocket, onEvent: (event) => told.put(event) });
    client.open();
    for (let tries = 0; tries < 2; tries += 1) {
      const { type, code, why } = await told.next("what became of it");
      assert.deepEqual([type, code], ["disconnected", 1006]);
      assert.match(why, what);
    }
    await client.close();
  }

  const { server, next } = await opened(context, { hello: null, isHelloWrong: true });
  await server.lines.next("a connection");
  assert.match((await next("disconnected")).why, /no greenroom/);
  Object.assign(server, { hello: HELLO, isHelloWrong: false });
  const line = await server.ready([ROOM, 0]);
  line.sayWrong({ type: "live", data: null });
  assert.match((await next("disconnected")).why, /no greenroom/);
  const again = await server.ready([ROOM, 0]);
  again.sayWrong({ type: "reconnect", data: { after: "soon" } });
  assert.match((await next("disconnected")).why, /no greenroom: its reconnect/);
  const missing = await server.ready([ROOM, 3]);
  missing.message(ROOM, 3);
  missing.sayWrong({ type: "ack", id: (await missing.heard("history")).id, data: { odd: true } });
  assert.match((await next("disconnected")).why, /no greenroom: its history/);
});

test("a page that was asked for and cannot be read costs a try, and is told as no answer", async (context) => {
  const { server, client, next } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  const asked = assert.rejects(client.history(ROOM, 5), ServerAway);
  line.sayWrong({ type: "ack", id: (await line.heard("history")).id, data: { messages: [null] } });
  await asked;
  assert.match((await next("disconnected")).why, /no greenroom/);
  await server.ready([ROOM, 0]);
});

test("whoever leaves a room, or the client, while a page is told hears no more of it", async (context) => {
  const page = { messages: [1, 2, 3].map((seq) => stored(seq)) };
  const leaving = [(client) => client.leave(ROOM), (line) => line.heard("leave")];
  const closing = [(client) => client.close(), (line) => line.closed];
  for (const [leave, hasLeft] of [leaving, closing]) {
    const { server, client, of, on } = await opened(context, { join: [] });
    client.join(ROOM, { recent: 3 });
    on("said", () => leave(client));
    const line = await server.ready([ROOM, 3]);
    line.ack(await line.heard("history"), page);
    await hasLeft(line);
    assert.deepEqual(seqs(of("said")), [1]);
    assert.deepEqual(of("caughtUp"), []);
  }
});

test("whoever leaves a room as somebody leaves it hears no more of it", async (context) => {
  const { server, client, next, of, on } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  const ben = { user: 8, name: "Ben", status: "online", activity: "" };
  line.say({ type: "presence_state", room: ROOM, data: { users: [ben] } });
  await next("presence");
  on("member", () => client.leave(ROOM));
  line.say(member(1, 8, "left"));
  await line.heard("leave");
  await answered(client, line);
  assert.equal(of("presence").length, 1);
});

test("whoever leaves a room, or leaves it and joins it anew, as the line is lost hears no more of it", async (context) => {
  for (const isAnew of [false, true]) {
    const { server, client, next, of, on } = await opened(context, { join: [ROOM, 43] });
    const line = await server.ready([ROOM, 0], [43, 0]);
    for (const room of [ROOM, 43]) line.say({ type: "typing", room, data: { users: [8], names: { 8: "Ben" } } });
    await next("typing");
    await next("typing");
    on("typing", () => {
      client.leave(43);
      if (isAnew) client.join(43);
    });
    line.socket.close(4200);
    await next("disconnected");
    assert.deepEqual(of("typing").slice(2).map(({ roomId }) => roomId), [ROOM]);
  }
});

test("a client that is over is not opened again", async (context) => {
  const { server, client, of } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  line.socket.close(4001, "no");
  await line.closed;
  await assert.rejects(client.join(ROOM), ClientRefused);
  assert.throws(() => client.open(), ClientRefused);
  await client.close();
  assert.throws(() => client.open(), ClientRefused);
  const other = await opened(context);
  await other.client.close();
  assert.throws(() => other.client.open(), ServerAway);
  assert.equal(of("connected").length, 1);
});

test("it leaves in order, and says no more", async (context) => {
  const { server, client, next, of } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  await next("connected");
  const waiting = assert.rejects(client.join(43), ServerAway);
  await client.close();
  assert.equal(await line.closed, 1000);
  await waiting;
  assert.equal(of("disconnected").length + of("ended").length, 0);
  await assert.rejects(client.join(ROOM), ServerAway);
});

// A program that closes its client when it is told what its second argument names, the last time of so many.
const CLOSING = `
  import WebSocket from "ws";
  import { Client } from "./index.js";
  let [url, type, times] = process.argv.slice(1);
  const onEvent = (event) => event.type === type && --times === 0 && client.close();
  const client = new Client({ url, token: "a token", WebSocket, onEvent });
  client.join(${ROOM}).catch(() => {});
  client.open();
  client.send(${ROOM}, "later");
`;
for (const [type, times] of [["delayed", 1], ["connected", 2], ["entered", 2]]) {
  test(`a program that closes its client when it is told ${type} ends`, { timeout: 20_000 }, async (context) => {
    const server = new ScriptedServer();
    const cwd = new URL("..", import.meta.url);
    const args = ["--input-type=module", "-e", CLOSING, await server.address(), type, times];
    const program = spawn(process.execPath, args, { cwd, stdio: ["ignore", "inherit", "inherit"], timeout: 10_000 });
    context.after(() => server.close());
    const ended = once(program, "exit");
    const first = await server.ready([ROOM, 0]);
    const sent = await first.heard("send");
    if (times === 2) {
      first.say({ type: "slow_down", data: { class: "send", retryAfter: 300 } });
      first.socket.close(4200);
      await server.ready([ROOM, 0]);
    } else first.error(sent, 4291, { recoverable: true, retryAfter: 300 });
    assert.deepEqual(await ended, [0, null]);
  });
}

test("the quick start of the contract runs as it is written, and says why nobody answers", { timeout: 20_000 }, async (context) => {
  const page = readFileSync(new URL("../../../docs/clients.md", import.meta.url), "utf8");
  const server = new ScriptedServer();
  const example = page.match(/```js\n(.*?)```/s)[1].replace("http://127.0.0.1:8787", await server.address());
  const args = ["--input-type=module", "-e", example.replace("./clients/js/", "./")];
  const options = { cwd: new URL("..", import.meta.url), env: { ...process.env, TOKEN: "a token", ROOM: `${ROOM}` }, timeout: 10_000 };
  const program = spawn(process.execPath, args, { ...options, stdio: ["ignore", "pipe", "inherit"] });
  context.after(() => server.close());
  const ended = once(program, "close");
  let said = "";
  program.stdout.on("data", (text) => (said += text));
  (await server.line()).socket.close(4200, "a restart");
  const line = await server.ready([ROOM, 1]);
  assert.deepEqual(line.start.rooms, [{ r: ROOM }]);
  line.ack(await line.heard("history"), { messages: [stored(1, { body: "hi" })] });
  const sent = await line.heard("send");
  assert.equal(sent.data.body, "hello");
  while (!said.includes("hi")) await once(program.stdout, "data"); // it leaves with the ack
  line.ack(sent, { messageId: 2, seq: 2, ts: 1 });
  assert.deepEqual(await ended, [0, null]);
  assert.match(said, /^away: a restart; again in \d\.\d s\nBen: hi\n$/);
});

test("what it cannot work with is refused where it is made", () => {
  assert.throws(() => new Client({ url: "ftp://x", WebSocket }), TypeError);
  assert.throws(() => new Client({ url: "nowhere", WebSocket }), TypeError);
  const url = "http://127.0.0.1:9";
  for (const token of [42, {}, []]) assert.throws(() => new Client({ url, token, WebSocket }), /a token is a text/);
  for (const device of [null, 42, "x".repeat(65)]) assert.throws(() => new Client({ url, device, WebSocket }), /no name of a device/);
});

test("the types name what there is", () => {
  const declared = readFileSync(new URL("../index.d.ts", import.meta.url), "utf8");
  const body = /class Client \{([^}]*)\}/.exec(declared.replace(/\{[^{}]*\}(?=[;)])/g, ""))[1];
  const named = [...body.matchAll(/^ {2}(?:readonly )?(\w+)[(:?]/gm)].map((match) => match[1]);
  const client = new Client({ url: "http://127.0.0.1:9", WebSocket });
  const there = [...Object.getOwnPropertyNames(Client.prototype), ...Object.keys(client)];
  assert.deepEqual([...new Set(named)].sort(), there.filter((name) => !name.startsWith("_")).sort());
});

test("the id of a room may come as its digits, and nothing else is one", async (context) => {
  const { server, client, next } = await opened(context, { join: [String(ROOM)] });
  const line = await server.ready([ROOM, 0]);
  assert.deepEqual(line.start.rooms, [{ r: ROOM }]);
  await client.join(ROOM); // the same one
  line.message(ROOM, 1);
  assert.equal((await next("said")).roomId, ROOM);
  client.send(String(ROOM), "hello");
  const sent = await line.heard("send");
  assert.equal(sent.room, ROOM);
  assert.deepEqual([client.pending(ROOM).length, client.pending(String(ROOM)).length], [1, 1]);
  line.ack(sent, { messageId: 2, seq: 2, ts: 1 });
  await client.waitSent();
  for (const wrong of ["", "Lobby", "4.2", "0", -1, 1.5, NaN, null, 2 ** 53, "9".repeat(16), true, {}]) {
    await assert.rejects(client.join(wrong), TypeError, String(wrong));
    assert.throws(() => client.send(wrong, "hello"), TypeError, String(wrong));
    await assert.rejects(client.history(wrong, 1), /no id of a room/, String(wrong));
  }
  assert.equal(client.unsent, 0);
});

test("to open it again has no effect", async (context) => {
  const { server, client, of } = await opened(context);
  client.open();
  const line = await server.ready([ROOM, 0]);
  await client.join(ROOM);
  client.open();
  await soon(200);
  assert.equal(server.lines.isEmpty, true);
  assert.equal(of("connected").length, 1);
  await client.close();
  assert.equal(await line.closed, 1000);
});

test("who is watched is asked for on each connection, and who is refused is told", async (context) => {
  const { server, client, next } = await opened(context, { join: [] });
  const watching = client.watch([8, "9", 8]);
  const first = await server.ready();
  const asked = await first.heard("watch");
  assert.deepEqual(asked.data, { users: [8, 9] });
  first.ack(asked, { watching: [8], refused: [9] });
  assert.deepEqual(await watching, [9]);
  first.say({ type: "presence_state", data: { users: [{ user: 8, name: "Ben", status: "online", activity: "" }] } });
  const ben = { userId: 8, name: "Ben", status: "online", activity: "", lastSeenMs: null };
  assert.deepEqual(await next("watched"), { type: "watched", people: [ben] });
  first.say({ type: "presence_diff", data: { joins: [], leaves: [{ user: 8, name: "Ben", status: "offline", lastSeen: 5 }] } });
  assert.deepEqual((await next("watched")).people, [{ ...ben, status: "offline", lastSeenMs: 5 }]);
  first.say({ type: "presence_diff", data: { joins: [], leaves: [], gone: [8] } });
  assert.deepEqual((await next("watched")).people, []);
  first.socket.close(4200);
  const second = await server.ready();
  const again = await second.heard("watch");
  assert.deepEqual(again.data, { users: [8, 9] });
  second.ack(again, { watching: [8], refused: [9] });
  await next("connected");
  const ending = client.watch([]);
  const end = await second.heard("watch");
  assert.deepEqual(end.data, { users: [] });
  second.ack(end, { watching: [], refused: [] });
  assert.deepEqual(await ending, []);
  second.socket.close(4200);
  const third = await server.ready();
  client.send(ROOM, "nobody is watched any more");
  await third.heard("send");
});

test("of lists of people the newest counts, one that may pass is asked again, and one for good changes nothing", async (context) => {
  const { server, client, next } = await opened(context, { join: [] });
  const line = await server.ready();
  await next("connected");
  const first = client.watch([8]);
  const asked = await line.heard("watch");
  const [second, third] = [client.watch([9]), client.watch([10])];
  assert.deepEqual([await first, await second], [null, null]);
  line.ack(asked, { watching: [8], refused: [] });
  const newest = await line.heard("watch"); // not before the answer, so that none overtakes
  assert.deepEqual(newest.data, { users: [10] });
  line.error(newest, 5002, { recoverable: true });
  const again = await line.heard("watch");
  line.ack(again, { watching: [10], refused: [] });
  assert.deepEqual(await third, []);
  const wrong = client.watch([11]);
  line.error(await line.heard("watch"), 5001);
  await assert.rejects(wrong, Refused);
  line.socket.close(4200);
  const other = await server.ready();
  assert.deepEqual((await other.heard("watch")).data, { users: [10] });
  const cut = client.watch([12]);
  other.socket.close(4003);
  await assert.rejects(cut, ClientRefused);
  await assert.rejects(client.watch([12]), ClientRefused);
});

test("what is no list of people, or too long a one, is refused at the door", async (context) => {
  const { server, client, next } = await opened(context, { join: [] });
  const line = await server.ready();
  await next("connected");
  for (const wrong of [null, 8, "8", [0], ["Ben"], [null], {}]) await assert.rejects(client.watch(wrong), TypeError, String(wrong));
  const people = Array.from({ length: 201 }, (_, at) => at + 1);
  await assert.rejects(client.watch(people), (fault) => fault instanceof Refused && fault.code === 1002);
  client.watch([...people.slice(1), 2, "3"]);
  assert.equal((await line.heard("watch")).data.users.length, 200);
});

test("what the client does not fold is told as it came", async (context) => {
  const { server, next, of } = await opened(context);
  const line = await server.ready([ROOM, 0]);
  const data = { top: 4, unread: 2, mention: 0, last: null };
  line.say({ type: "room_summary", room: 43, data });
  assert.deepEqual(await next("other"), { type: "other", what: "room_summary", roomId: 43, data, atMs: null });
  line.sayWrong({ type: "of tomorrow", room: ROOM, ts: 9 });
  assert.deepEqual(await next("other"), { type: "other", what: "of tomorrow", roomId: ROOM, data: {}, atMs: 9 });
  line.error({}, 1001); // of no command
  assert.deepEqual((await next("other")).data.code, 1001);
  line.sayWrong({ type: "of tomorrow", rooms: [ROOM, 44], data: {} });
  assert.deepEqual([(await next("other")).roomId, (await next("other")).roomId], [ROOM, 44]);
  line.say({ type: "typing", room: 43, data: { users: [8], names: { 8: "Ben" } } }); // of a room that was left
  line.say({ type: "presence_state", room: 43, data: { users: [] } }, { ...member(1, 8, "left"), room: 43 }); // as well
  for (const room of [ROOM, 43]) line.sayWrong({ type: "of tomorrow", room, seq: 1, data: {} });
  line.message(ROOM, 2);
  assert.equal((await next("said")).seq, 2);
  assert.equal(of("other").length, 5);
});

test("it is told when a room is caught up, on each connection, behind what was there", async (context) => {
  const { server, client, next, of } = await opened(context, { join: [] });
  client.join(ROOM, { recent: 2 });
  const first = await server.ready([ROOM, 5]);
  const asked = await first.heard("history");
  first.message(ROOM, 6);
  await soon(50);
  assert.equal(of("caughtUp").length, 0);
  first.ack(asked, { messages: [stored(4), stored(5)] });
  assert.deepEqual(await next("caughtUp"), { type: "caughtUp", roomId: ROOM });
  assert.deepEqual(seqs(of("said")), [4, 5, 6]);
  first.message(ROOM, 7);
  await next("said");
  first.socket.close(4200);
  await server.ready([ROOM, 7]);
  await next("caughtUp");
  assert.equal(of("caughtUp").length, 2);
});

test("files and details go with their line, again and again until it is stored; how a message stands is told live and of history", async (context) => {
  const { server, client, next } = await opened(context);
  const first = await server.ready([ROOM, 0]);
  await next("connected");
  for (const wrong of ["key", [1], null, {}]) assert.throws(() => client.send(ROOM, "look", { attachments: wrong }), TypeError);
  for (const details of ["kind", ["kind"], { knid: "poll" }, 7]) {
    assert.throws(() => client.send(ROOM, "look", { details }), TypeError);
  }
  const details = { replyTo: "4", mentions: [2] };
  const clientId = client.send(ROOM, "look", { attachments: ["k1", "k2"], details });
  const line = { body: "look", attachments: ["k1", "k2"], details: { replyTo: "4", mentions: [2] } };
  assert.equal(client.send(ROOM, "look", { ...line, clientId }), clientId);
  assert.throws(() => client.send(ROOM, "look", { attachments: ["k1", "k2"], clientId }), Refused);
  details.mentions.push(3); // too late
  assert.deepEqual(client.pending(ROOM), [{ roomId: ROOM, clientId, ...line }]);
  const sent = { clientId, body: "look", attachments: ["k1", "k2"], ...line.details };
  assert.deepEqual((await first.heard("send")).data, sent);
  first.socket.close(4200);
  const second = await server.ready([ROOM, 0]);
  const again = await second.heard("send");
  assert.deepEqual(again.data, sent);
  second.error(again, 3014, { recoverable: false });
  const refused = await next("undelivered");
  assert.deepEqual([refused.attachments, refused.details], [["k1", "k2"], line.details]);
  const file = { key: "k3", url: "/u", originalName: "a.png", fileSize: 1, mimeType: "image/png" };
  const stands = ({ attachments, editedAtMs, isDeleted }) => [attachments, editedAtMs, isDeleted];
  second.message(ROOM, 1, { attachments: [file], edited: 9, kind: "poll", thread: { id: 4, seq: 1 } });
  const said = await next("said");
  assert.deepEqual([...stands(said), said.details], [[file], 9, false, { kind: "poll", thread: { id: 4, seq: 1 } }]);
  second.message(ROOM, 2, { body: "", deleted: 10 });
  assert.deepEqual(stands(await next("said")), [[], null, true]);
  const asked = client.history(ROOM, 5);
  const item = stored(1, { attachments: [file], edited: 9 });
  second.ack(await second.heard("history"), { messages: [item, { ...item, seq: 2, attachments: undefined, edited: undefined, deleted: 10 }] });
  assert.deepEqual((await asked).map(stands), [[[file], 9, false], [[], null, true]]);
});
