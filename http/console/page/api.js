// The HTTP interface, as one person. The token stays in the tab, so that two tabs can be two people; when it has ended,
// demo sign-in is asked for a new one, once per call.

const PATIENCE_MS = 10_000;

export class HttpFailed extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function call(method, path, { body, token } = {}) {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(PATIENCE_MS),
    cache: "no-store",
  });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new HttpFailed(response.status, answer?.error?.message || `the server answered ${response.status}`);
  return answer.data;
}

export const signIn = (name) => call("POST", "/api/dev/sign-in", { body: { name } });
export const statistics = () => call("GET", "/api/dev/statistics");
export const mails = () => call("GET", "/api/dev/mail");
export const mail = (name) => call("GET", `/api/dev/mail/${encodeURIComponent(name)}`);

export class Api {
  // session: {user, token}; onRenewed(session) when the token had to be replaced.
  constructor(session, onRenewed) {
    this.session = session;
    this._onRenewed = onRenewed;
  }

  async rooms() {
    const data = await this._call("GET", "/api/conversations?limit=100");
    return (data.conversations || data).map(roomOf);
  }

  async openRooms() {
    const data = await this._call("GET", "/api/conversations/open?limit=50");
    return (data.conversations || data).map(roomOf);
  }

  async createRoom(title) {
    const body = { title, isGroup: true, open: true, participantIds: [] };
    const data = await this._call("POST", "/api/conversations", body);
    return roomOf(data.conversation || data);
  }

  joinRoom(id) {
    return this._call("POST", `/api/conversations/${id}/join`, {});
  }

  leaveRoom(id) {
    return this._call("DELETE", `/api/conversations/${id}/participants/${this.session.user.id}`);
  }

  async members(id) {
    const data = await this._call("GET", `/api/conversations/${id}/participants?limit=200`);
    return (data.participants || data).map(memberOf);
  }

  // The address of the WebSocket with a ticket for one connection. Throws with isFinal when trying again is useless.
  async socketAddress() {
    try {
      const { token } = await this._call("GET", "/api/ws/token");
      return `${location.protocol.replace("http", "ws")}//${location.host}/ws?token=${encodeURIComponent(token)}`;
    } catch (fault) {
      if (fault instanceof HttpFailed && [401, 403].includes(fault.status)) fault.isFinal = true;
      throw fault;
    }
  }

  async _call(method, path, body) {
    try {
      return await call(method, path, { body, token: this.session.token });
    } catch (fault) {
      if (!(fault instanceof HttpFailed) || fault.status !== 401) throw fault;
    }
    const renewed = await signIn(this.session.user.name).catch(() => null);
    if (renewed === null || renewed.user.id !== this.session.user.id) throw new HttpFailed(401, "this sign-in has ended");
    this.session = renewed;
    this._onRenewed(renewed);
    return call(method, path, { body, token: renewed.token });
  }
}

const first = (...values) => values.find((value) => value !== undefined && value !== null);
const firstText = (...values) => values.find((value) => typeof value === "string" && value.trim());

function roomOf(row) {
  const count = first(row.participantCount, row.participant_count);
  return {
    id: Number(row.id),
    title: firstText(row.title, row.name, row.participantName, row.participant_name) || `Room ${row.id}`,
    isGroup: first(row.isGroup, row.is_group, true),
    preview: first(row.lastMessage?.content, row.lastMessage, row.last_message) || "",
    at: Date.parse(first(row.lastMessageAt, row.last_message_time, row.last_message_at, row.updatedAt, row.updated_at) || "") || 0,
    count: count === undefined ? null : Number(count),
    isMember: first(row.isMember, row.is_member, false),
  };
}

function memberOf(row) {
  return {
    id: Number(first(row.userId, row.user_id, row.id)),
    name: first(row.name, row.username) || "Somebody",
    role: row.role || "member",
    read: Number(first(row.readSeq, row.read_seq, 0)),
  };
}
