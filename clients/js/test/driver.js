// The JavaScript client behind the line protocol of tests/clients (docs/clients.md, "The driver").

import { createInterface } from "node:readline";
import WebSocket from "ws";
import { Client } from "../index.js";

const say = (object) => process.stdout.write(`${JSON.stringify(object)}\n`);
const askedFor = [];
const rooms = new Map();
const states = new Map(); // room: Map of seq: [names of files, is edited, is deleted, details]
const report = {
  confirmed: {},
  undelivered: {},
  changes: [],
  members: [],
  personal: [],
  missed: [],
  caughtUp: [],
  watched: null,
  other: [],
  connects: 0,
  closes: [],
  expected: [],
  replaced: 0,
  ended: null,
};

const logOf = (roomId) => rooms.get(roomId) ?? rooms.set(roomId, []).get(roomId);
const statesOf = (roomId) => states.get(roomId) ?? states.set(roomId, new Map()).get(roomId);

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
  said({ roomId, seq, senderId, clientId, body, attachments, editedAtMs, isDeleted, details }) {
    logOf(roomId).push([seq, senderId, clientId, body]);
    const isEdited = editedAtMs !== null && !isDeleted;
    statesOf(roomId).set(seq, [attachments.map((file) => file.originalName), isEdited, isDeleted, details]);
  },
  changed({ roomId, seq, of, body }) {
    report.changes.push([roomId, seq, of]);
    for (const entry of logOf(roomId).filter(([at]) => at === of)) {
      entry[3] = body ?? "";
      const [files, , , details] = statesOf(roomId).get(of); // what is deleted has none
      statesOf(roomId).set(of, body === null ? [[], false, true, {}] : [files, true, false, details]);
    }
  },
  member: ({ roomId, seq, userId, isActive }) => report.members.push([roomId, seq, userId, isActive]),
  confirmed: ({ clientId, seq }) => (report.confirmed[clientId] = seq),
  undelivered: ({ clientId, code }) => (report.undelivered[clientId] = code),
  personal: ({ useq, what, roomId }) => report.personal.push([useq, what, roomId]),
  missed: ({ firstUseq, lastUseq }) => report.missed.push([firstUseq, lastUseq]),
  caughtUp: ({ roomId }) => report.caughtUp.push([roomId, logOf(roomId).length]),
  watched: ({ people }) => (report.watched = people.map(({ userId, status }) => [userId, status]).sort(([a], [b]) => a - b)),
  other: ({ what, roomId }) => report.other.push([what, roomId]),
  replaced: ({ roomId }) => {
    report.replaced += 1;
    rooms.set(roomId, []);
    states.delete(roomId);
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
  send({ room, bodies, clientIds = [], attachments = [], details }) {
    const given = (at) => ({ clientId: clientIds[at], ...(at === 0 ? { attachments, details } : {}) }); // files are of the first
    return { clientIds: bodies.map((body, at) => client.send(room, body, given(at))) };
  },
  async watch({ people }) {
    return { refused: await client.watch(people) };
  },
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
    const found = room === undefined ? [] : [...statesOf(room)].sort(([a], [b]) => a - b);
    const isAny = ([, [files, isEdited, isDeleted, details]]) =>
      files.length > 0 || isEdited || isDeleted || Object.keys(details).length > 0;
    const stand = found.filter(isAny).map(([seq, state]) => [seq, ...state]);
    const told = { ...report, log: room === undefined ? [] : logOf(room), states: stand, here: people };
    return { ...told, unsent: client.unsent, isConnected: client.isConnected };
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
