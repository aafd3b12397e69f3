// The JavaScript client behind the line protocol of tests/clients (docs/clients.md, "The driver").

import { createInterface } from "node:readline";
import WebSocket from "ws";
import { Client } from "../index.js";

const say = (object) => process.stdout.write(`${JSON.stringify(object)}\n`);
const askedFor = [];
const rooms = new Map();
const report = {
  confirmed: {},
  undelivered: {},
  changes: [],
  personal: [],
  missed: [],
  connects: 0,
  closes: [],
  expected: [],
  replaced: 0,
  ended: null,
};

const logOf = (roomId) => rooms.get(roomId) ?? rooms.set(roomId, []).get(roomId);

function token() {
  say({ ask: "token" });
  return new Promise((resolve) => askedFor.push(resolve));
}

const HANDLERS = {
  connected: () => (report.connects += 1),
  disconnected: ({ code, isExpected }) => {
    report.closes.push(code);
    report.expected.push(isExpected);
  },
  ended: ({ code }) => (report.ended = code),
  said: ({ roomId, seq, senderId, clientId, body }) => logOf(roomId).push([seq, senderId, clientId, body]),
  changed({ roomId, seq, of, body }) {
    report.changes.push([roomId, seq, of]);
    for (const entry of logOf(roomId)) if (entry[0] === of) entry[3] = body ?? "";
  },
  confirmed: ({ clientId, seq }) => (report.confirmed[clientId] = seq),
  undelivered: ({ clientId, code }) => (report.undelivered[clientId] = code),
  personal: ({ useq, what, roomId }) => report.personal.push([useq, what, roomId]),
  missed: ({ firstUseq, lastUseq }) => report.missed.push([firstUseq, lastUseq]),
  replaced: ({ roomId }) => {
    report.replaced += 1;
    rooms.set(roomId, []);
  },
};

const client = new Client({
  url: process.env.GREENROOM_URL,
  token,
  device: "driver",
  WebSocket,
  onEvent: (event) => HANDLERS[event.type]?.(event),
});

const COMMANDS = {
  async join({ room, recent }) {
    await client.join(room, { recent });
    return {};
  },
  send: ({ room, bodies }) => ({ clientIds: bodies.map((body) => client.send(room, body)) }),
  async request({ type, room, data }) {
    return { data: await client.request(type, room, data) };
  },
  read({ room, seq }) {
    client.read(room, seq);
    return {};
  },
  async wait_sent() {
    await client.waitSent();
    return {};
  },
  report({ room }) {
    const here = room === undefined ? null : client.here(room);
    const people = here && [...here.keys()].sort((a, b) => a - b);
    return { ...report, log: room === undefined ? [] : logOf(room), here: people, unsent: client.unsent, isConnected: client.isConnected };
  },
  async quit() {
    await client.close();
    setTimeout(() => process.exit(0), 10);
    return {};
  },
};

client.open();
createInterface({ input: process.stdin }).on("line", async (line) => {
  const command = JSON.parse(line);
  if (command.token !== undefined) {
    askedFor.shift()(command.token);
    return;
  }
  const { id, do: what } = command;
  try {
    say({ id, did: what, ...(await COMMANDS[what](command)) });
  } catch (fault) {
    say({ id, failed: what, code: fault.code ?? 0, why: fault.message });
  }
});
