// A client before a scripted server, and what it told.

import WebSocket from "ws";
import { Client } from "../index.js";
import { HELLO, ScriptedServer, Waiting } from "./scripted_server.js";

export const ROOM = 42;
export const SMALL = { ...HELLO, limits: { ...HELLO.limits, frame: 400 } };

// A client with what it told; both ends are closed when the test is over.
export async function opened(context, { token = "a token", hello = HELLO, isHelloWrong = false, join = [ROOM] } = {}) {
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
export async function answered(client, line) {
  const answer = client.request("members", ROOM);
  line.ack(await line.heard("members"));
  await answer;
}

export const seqs = (events) => events.map((event) => event.seq);
export const soon = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
