/** A client of greenroom.v1 that outlives its connections. The contract: docs/clients.md of greenroom. */

/** The number, or its digits, as URLs and forms have it; it is told as the number. Anything else is a TypeError. */
export type GivenId = number | string;

export interface Line {
  roomId: number;
  clientId: string;
  body: string;
  /** The keys of its files. */
  attachments: string[];
  details: GivenDetails;
}

/** What else is said of a line. What is left out is usual. replyTo, thread: ids of messages; mentions: of users. */
export interface GivenDetails {
  kind?: string;
  format?: string;
  replyTo?: GivenId;
  thread?: GivenId;
  mentions?: GivenId[];
}

/** What else is said of a message, where it is not usual. */
export interface Details {
  kind?: string;
  format?: string;
  replyTo?: Placed;
  thread?: Placed;
  mentions?: number[];
}

/** A message that another one names. */
export interface Placed {
  id: number;
  seq: number;
}

/** status: online, away, busy, dnd; of who went: offline. lastSeenMs: of who is offline, where the server tells it. */
export interface Person {
  userId: number;
  name: string;
  status: string;
  activity: string;
  lastSeenMs: number | null;
}

/**
 * A message, as it stands when it is told. isOwn: by this user, from whatever device; only then there is a clientId.
 * isDeleted: it says nothing. editedAtMs: when it was edited last, null: never. reactions, pinnedAtMs: only of what
 * `history` answers; of what is told they are told by `reacted` and `pinned`.
 */
export interface Said {
  type: "said";
  roomId: number;
  seq: number;
  senderId: number;
  sender: string;
  body: string;
  atMs: number;
  clientId: string | null;
  isOwn: boolean;
  messageId: number;
  isDeleted: boolean;
  attachments: Attachment[];
  editedAtMs: number | null;
  details: Details;
  reactions: Reaction[];
  pinnedAtMs: number | null;
}

/** A reaction to a message. count: of users; mine: whether we are one of them. */
export interface Reaction {
  reaction: string;
  count: number;
  mine: boolean;
}

/** A file of a message. url: relative to the server. */
export interface Attachment {
  key: string;
  url: string;
  originalName: string;
  fileSize: number;
  mimeType: string;
}

/**
 * A message that was told, or would have been, says `body` from here on; null: it was deleted. of: the seq of the message.
 * seq: of the change, which has a place in the log of its own.
 */
export interface Changed {
  type: "changed";
  roomId: number;
  seq: number;
  of: number;
  messageId: number;
  body: string | null;
  atMs: number;
}

/** Somebody reacts to the message at seq `of`, or does so no more (not isOn). reaction: "" of one deleted since. */
export interface Reacted {
  type: "reacted";
  roomId: number;
  seq: number;
  of: number;
  messageId: number;
  userId: number;
  reaction: string;
  isOn: boolean;
  atMs: number;
}

/** The message at seq `of` was pinned in its room, or let go (not isOn). */
export interface Pinned {
  type: "pinned";
  roomId: number;
  seq: number;
  of: number;
  messageId: number;
  byId: number;
  isOn: boolean;
  atMs: number;
}

export type Event =
  /** The server has said `ready`. isAgain: after a loss. */
  | { type: "connected"; userId: number; name: string; isAgain: boolean }
  /**
   * The connection is lost; the next try comes in retrySeconds. code: of the close, 1006 when there was none.
   * isExpected: the server has asked for it lately, as it does when it restarts: nothing to trouble anybody with.
   */
  | { type: "disconnected"; code: number; why: string; retrySeconds: number; isExpected: boolean }
  /** The server will not have this client: it does not connect any more. */
  | { type: "ended"; code: number; why: string }
  /** The server has let us into the room, as it does on each connection. read: up to where this user has. */
  | { type: "entered"; roomId: number; top: number; read: number; unread: number; members: number }
  /** What was there in the room when the server let us in is told, as it is on each connection: the rest is new. */
  | { type: "caughtUp"; roomId: number }
  | Said
  | Changed
  | Reacted
  | Pinned
  /** A line of ours is stored, at this seq. */
  | { type: "confirmed"; roomId: number; clientId: string; seq: number }
  /** The server asks to wait with a line of ours; it is sent again in so many seconds. */
  | { type: "delayed"; roomId: number; clientId: string; retrySeconds: number; why: string }
  /** The server refuses a line of ours for good. attachments: the keys of its files. */
  | { type: "undelivered"; roomId: number; clientId: string; body: string; code: number; why: string; attachments: string[];
      details: GivenDetails }
  /** The log of the room is another one: throw away what was told of it; seqs begin anew. */
  | { type: "replaced"; roomId: number }
  /** Who types now; it replaces what was told before. One's own typing is left out. */
  | { type: "typing"; roomId: number; names: Map<number, string> }
  /** Up to which seq some people have read. */
  | { type: "receipts"; roomId: number; marks: Map<number, number>; counts: [number, number][] }
  /** Who came or appears otherwise now, and who went. `Client.here` has everybody. */
  | { type: "presence"; roomId: number; here: Person[]; gone: Person[] }
  /**
   * All who are watched by name (`watch`), as they are now; it replaces what was told before. Whoever may not be seen is
   * not among them.
   */
  | { type: "watched"; people: Person[] }
  /**
   * Somebody became a member, or has another role, or is none any more (not isActive). seq, atMs: null of the first members
   * of a conversation. role: admin or member; from here on, or until then.
   */
  | { type: "member"; roomId: number; userId: number; isActive: boolean; seq: number | null; atMs: number | null; role: string | null }
  /** The server does not let us into the room any more. */
  | { type: "roomRefused"; roomId: number; code: number; why: string }
  /**
   * Something of this user, told to all their devices in the order of useq. what: read_sync, membership, block,
   * notification, notification_read, notification_deleted, and what later servers have; data: as docs/wire-protocol.md says.
   */
  | { type: "personal"; useq: number; what: string; roomId: number | null; data: Record<string, any>; atMs: number }
  /** Events of this user that are not told any more: look anew at what they told of. isReset: seqs begin anew. */
  | { type: "missed"; firstUseq: number; lastUseq: number; isReset: boolean }
  /**
   * What the server says that is nothing of the above, such as `room_summary`, or `error` without an id. what: the type
   * of the frame; data: as docs/wire-protocol.md says.
   */
  | { type: "other"; what: string; roomId: number | null; data: Record<string, any>; atMs: number | null };

/** What is needed of a WebSocket: a browser's own, or that of `ws`. */
export type WebSocketClass = new (url: string, protocols: string[]) => {
  readonly readyState: number;
  send(text: string): void;
  close(code?: number): void;
};

export interface Options {
  /** Such as http://127.0.0.1:8787; the socket is at /ws below it. */
  url: string;
  /** A JWT, or what is asked for one before each connection and when one expires. Without it the cookie must do. */
  token?: string | (() => string | Promise<string>);
  device?: string;
  /** Needed where there is no global one, as in node 20. */
  WebSocket?: WebSocketClass;
  onEvent?: (event: Event) => void;
}

export declare class Client {
  constructor(options: Options);
  readonly userId: number;
  /** The server has let us in, and is not known to be gone. */
  readonly isConnected: boolean;
  /** Lines that are neither confirmed nor undelivered. */
  readonly unsent: number;
  /** Connect, and stay connected. Throws: why it is over for good, ClientRefused, or ServerAway of one that was closed. */
  open(): void;
  /** Do not wait for the next try: the network is back, or somebody is. */
  retryNow(): void;
  /** Leave in order; nothing is told any more. */
  close(): Promise<void>;
  /** Hear the room from now on, and its newest `recent` messages before. Rejects: Refused, ClientRefused. */
  join(roomId: GivenId, options?: { recent?: number }): Promise<void>;
  /** Hear no more of the room; membership stays. */
  leave(roomId: GivenId): void;
  /**
   * Say something, now or when the server is back; its client id. clientId: of a line that an earlier client was given,
   * and that may be stored or not; 1 to 255 characters. attachments: the keys of its files, which were uploaded over HTTP.
   * details: what else is said of it, as docs/wire-protocol.md says. Throws: OutboxFull, ClientRefused; Refused, of a clientId under which another line of the room is pending.
   */
  send(roomId: GivenId, body: string, options?: { clientId?: string | null; attachments?: Iterable<string>; details?: GivenDetails }): string;
  /** Until every line is confirmed or undelivered. Rejects: ClientRefused. */
  waitSent(): Promise<void>;
  /** Lines of the room that are neither, as they were said. */
  pending(roomId: GivenId): Line[];
  /** Who is in the room now; null while nobody has told, or in rooms where nobody tells. */
  here(roomId: GivenId): Map<number, Person> | null;
  /** Lost when there is no connection, and while the server asks to type less. */
  typing(roomId: GivenId, isTyping: boolean): void;
  /** Move our marker; lost when there is no connection. */
  read(roomId: GivenId, seq: number): void;
  /** The newest messages before a seq, oldest first. Rejects: Refused, ServerAway. */
  history(roomId: GivenId, count: number, before?: number): Promise<Said[]>;
  /** Say something else in the place of what we have said. Rejects: Refused, ServerAway; to ask again is harmless. */
  edit(roomId: GivenId, messageId: number, body: string): Promise<void>;
  /** Erase what we have said, or as an admin others. Rejects: as `edit`. */
  delete(roomId: GivenId, messageId: number): Promise<void>;
  /** React to a message with an emoji or a short text, or take that off. Rejects: as `edit`. */
  react(roomId: GivenId, messageId: number, reaction: string, isOn?: boolean): Promise<void>;
  /** Pin a message, as one of two or an admin of the group, or let it go. Rejects: as `edit`. */
  pin(roomId: GivenId, messageId: number, isOn?: boolean): Promise<void>;
  /**
   * Be told how these are, wherever they are, and nobody else by name; nobody at all where there are none. At most 200.
   * Waits for the server, and is asked again on each connection. What is told are `watched` events. The ids that the
   * server refuses; null when a later call has taken this one's place. Rejects: Refused, ClientRefused.
   */
  watch(people: Iterable<GivenId>): Promise<number[] | null>;
  /** Any other command; while the server asks to slow down it waits. Rejects: Refused, ServerAway; `pong` has no answer. */
  request(type: string, roomId?: GivenId, data?: object): Promise<any>;
}

/** The server will not have this client. A `token` that throws it ends the client as well. */
export declare class ClientRefused extends Error {
  constructor(code: number, message: string);
  readonly code: number;
}
/** A command was answered with an error. */
export declare class Refused extends Error {
  constructor(code: number, message: string);
  readonly code: number;
}
/** There is no connection, or it was lost before the answer. */
export declare class ServerAway extends Error {
  constructor(message: string);
}
/** Too much was said while nobody answered. */
export declare class OutboxFull extends Error {
  constructor(message: string);
}
