// Rooms as Durable Objects, with the hibernation API: the platform holds the sockets, the object may be evicted.
//
// A `start` frame is answered with `ready`, to its sender only. Every other frame goes, as received, to all members
// and its sender gets an ack. SqliteRoom writes the message first; the ack and the copies are sent in the same turn
// without waiting, because the output gate holds them until SQLite has the write on disk.

import { DurableObject } from "cloudflare:workers";

export class MemoryRoom extends DurableObject {
  async fetch(request) {
    if (request.headers.get("Upgrade") !== "websocket") return new Response("a WebSocket is wanted here\n", { status: 426 });
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(socket, text) {
    const frame = JSON.parse(text);
    if (frame.type === "start") return socket.send('{"type":"ready"}');
    const seq = this.keep(frame);
    socket.send(`{"type":"ack","id":${JSON.stringify(frame.id)},"data":{"seq":${seq}}}`);
    for (const member of this.ctx.getWebSockets()) member.send(text);
  }

  webSocketClose(socket, code) {
    socket.close(code === 1005 || code === 1006 ? 1000 : code, "");
  }

  keep() {
    this.last = (this.last ?? 0) + 1;
    return this.last;
  }
}

export class SqliteRoom extends MemoryRoom {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS message (seq INTEGER PRIMARY KEY, client_id TEXT NOT NULL UNIQUE, ts INTEGER NOT NULL, body TEXT NOT NULL)",
    );
    this.last = ctx.storage.sql.exec("SELECT coalesce(max(seq), 0) AS last FROM message").one().last;
  }

  keep(frame) {
    this.last += 1;
    this.ctx.storage.sql.exec(
      "INSERT INTO message (seq, client_id, ts, body) VALUES (?, ?, ?, ?)",
      this.last, frame.data.clientId, Date.now(), frame.data.body,
    );
    return this.last;
  }
}

export default {
  async fetch(request, env) {
    const room = new URL(request.url).pathname.split("/").pop();
    return env.ROOMS.get(env.ROOMS.idFromName(room)).fetch(request);
  },
};
