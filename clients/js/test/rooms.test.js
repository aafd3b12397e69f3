// The client against a scripted server: who is in a room, coming and leaving, and its own end.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import WebSocket from "ws";
import { Client, ClientRefused, Refused, ServerAway } from "../index.js";
import { answered, opened, ROOM, seqs, soon } from "./opened.js";
import { HELLO, ScriptedServer, stored, Waiting } from "./scripted_server.js";

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
  const { server, client, next } = await opened(context, { hello: { ...HELLO, hb: 1000, hbGrace: 1000 } });
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
  line.personal(1);
  await next("personal"); // and so it knows what was said before
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
