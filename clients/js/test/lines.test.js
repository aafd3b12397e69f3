// The client against a scripted server: what it says, lines and tokens above all.

import assert from "node:assert/strict";

import { test } from "node:test";
import { ClientRefused, Refused, ServerAway } from "../index.js";
import { answered, opened, ROOM, seqs, SMALL, soon } from "./opened.js";
import { PLACE, stored } from "./scripted_server.js";

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
