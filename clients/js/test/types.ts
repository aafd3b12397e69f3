// What the types allow, and what they must refuse: tsc -p . passes, and each @ts-expect-error is one.

import { Client, ClientRefused, OutboxFull, Refused, ServerAway, type Event, type Line, type Person } from "../index.js";

const client = new Client({
  url: "https://chat.example",
  token: async () => "a token",
  device: "phone",
  WebSocket,
  onEvent: show,
});
new Client({ url: "http://127.0.0.1:8787" });
new Client({ url: "http://127.0.0.1:8787", token: "a token" });
// @ts-expect-error: it needs an address
new Client({ token: "a token" });
// @ts-expect-error: a token is a text
new Client({ url: "http://127.0.0.1:8787", token: () => 42 });

function show(event: Event): string {
  switch (event.type) {
    case "said":
      return `${event.sender}: ${event.body} (${event.seq}, ${event.clientId ?? "of another"}, ${event.attachments[0]?.url}, ${event.details.replyTo?.seq})`;
    case "changed":
      return `${event.of}: ${event.body ?? "deleted"} (${event.messageId})`;
    case "reacted":
      return `${event.of}: ${event.userId} ${event.isOn ? "+" : "-"}${event.reaction} (${event.messageId})`;
    case "pinned":
      return `${event.of}: ${event.byId} ${event.isOn} (${event.messageId})`;
    case "presence":
      return event.here.map((person: Person) => person.name).join();
    case "typing":
      return [...event.names.values()].join();
    case "undelivered":
      return `${event.body}: ${event.why} (${event.attachments.length} files)`;
    case "watched":
      return event.people.map((person: Person) => `${person.name}: ${person.lastSeenMs ?? person.status}`).join();
    case "other":
      return `${event.what} ${event.roomId ?? ""} ${event.data.top} ${event.atMs ?? ""}`;
    case "disconnected":
      return `again in ${event.retrySeconds.toFixed(1)} s`;
    case "connected":
    case "ended":
    case "confirmed":
    case "replaced":
    case "receipts":
    case "member":
    case "roomRefused":
    case "entered":
    case "caughtUp":
    case "delayed":
    case "personal":
    case "missed":
      return event.type;
    default: {
      const nothing: never = event; // every event is named above
      return nothing;
    }
  }
}

export async function talk(): Promise<void> {
  client.open();
  try {
    await client.join(42, { recent: 20 });
  } catch (fault) {
    if (fault instanceof Refused || fault instanceof ClientRefused) console.log(fault.code, fault.message);
    if (fault instanceof ServerAway || fault instanceof OutboxFull) console.log(fault.message);
  }
  const clientId: string = client.send(42, "hello", { attachments: ["a key"], details: { replyTo: "4", mentions: [7] } });
  client.send(42, "hello", { clientId });
  const waiting: Line | undefined = client.pending(42).find((line) => line.clientId === clientId);
  console.log(waiting?.body, client.unsent, client.userId, client.isConnected, client.here(42)?.size);
  await client.waitSent();
  for (const { seq, body } of await client.history(42, 50, 17)) console.log(seq, body);
  const refused: number[] | null = await client.watch([7, "8"]);
  console.log(refused?.length);
  client.retryNow();
  client.typing(42, true);
  client.read(42, 17);
  client.leave(42);
  await client.request("ping");
  await client.close();
  client.send("42", "hello");
  // @ts-expect-error: a room is a number, or its digits
  client.send({ id: 42 }, "hello");
  // @ts-expect-error: a client id is an option
  client.send(42, "hello", clientId);
  // @ts-expect-error: people are a list
  client.watch(7);
  // @ts-expect-error: what it is at is not for others to set
  client.isConnected = true;
  // @ts-expect-error: there is no such thing
  client.reconnect();
}
