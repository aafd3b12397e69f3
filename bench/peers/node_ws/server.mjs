// Rooms on node's `ws`, in memory, without authentication: a map from path to sockets and a loop over them.
//
// A `start` frame is answered with `ready`, to its sender only. Every other frame goes, as received, to all members.

import { WebSocketServer } from "ws";

const START = '{"type":"start"';
const rooms = new Map();

// Compressed for who offers it, as greenroom does: nothing below 512 bytes, no context between messages.
const perMessageDeflate = { threshold: 512, serverNoContextTakeover: true };
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.env.PORT), perMessageDeflate, backlog: 4096 });

server.on("connection", (socket, request) => {
  const name = request.url;
  if (!rooms.has(name)) rooms.set(name, new Set());
  const members = rooms.get(name);
  members.add(socket);

  socket.on("message", (data) => {
    const text = data.toString();
    if (text.startsWith(START)) return socket.send('{"type":"ready"}');
    for (const member of members) member.send(text);
  });
  socket.on("close", () => {
    members.delete(socket);
    if (members.size === 0) rooms.delete(name);
  });
  socket.on("error", () => socket.terminate());
});
