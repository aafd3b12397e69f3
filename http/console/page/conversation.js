// One conversation on the screen: messages, what is still on its way, who types, who has read how far, the box to write.
//
// Each message is one element for its whole life: what was shown at once keeps its element when the server confirms it.
// Order on the screen is the order of the log; whatever is unconfirmed stands after it.

import { byId, clock, count, day, face, listed, make, moment } from "./dom.js";

const BODY_CHARACTERS_MAX = 10_000;
const NEAR_BOTTOM_PX = 90;
const NEAR_TOP_PX = 240;
const TYPING_EVERY_MS = 3000;
const IDLE_MS = 3000;
const GROUP_MS = 5 * 60_000;
const FACES_MAX = 4;

const STATES = { queued: "Waiting to be sent", sending: "Sending", sent: "Sending", failed: "Not sent" };

export class Conversation {
  // nameOf(user, fallback); onLeave(), onBack().
  constructor({ nameOf, onLeave, onBack }) {
    this.client = null;
    this.room = null;
    this._nameOf = nameOf;
    this._members = [];
    this._elements = new Map(); // seq → element
    this._pending = new Map(); // clientId → element
    this._missed = 0;
    this._typedAt = 0;
    this._drafts = new Map();
    this._list = byId("messages");
    this._scroll = byId("scroll");
    this._say = byId("say");
    this._down = byId("down");
    this._scroll.addEventListener("scroll", () => this._scrolled(), { passive: true });
    this._down.addEventListener("click", () => this._toBottom());
    this._say.addEventListener("input", () => this._typed());
    this._say.addEventListener("keydown", (event) => this._key(event));
    this._say.addEventListener("blur", () => this._stopTyping());
    byId("say-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this._submit();
    });
    byId("leave").addEventListener("click", onLeave);
    byId("back").addEventListener("click", onBack);
    document.addEventListener("visibilitychange", () => this._read());
    new ResizeObserver(() => this._wasAtBottom && this._toBottom()).observe(this._scroll);
  }

  show(client, room, title) {
    this._keepDraft();
    this.client = client;
    this.room = room;
    this._members = [];
    byId("empty").hidden = true;
    byId("conversation").hidden = false;
    byId("title").textContent = title;
    this._say.value = this._drafts.get(room.id) || "";
    this._grow();
    this.redraw();
    this.presence();
    this.typing();
    client.open(room.id);
  }

  hide() {
    this._keepDraft();
    this.room = null;
    byId("conversation").hidden = true;
    byId("empty").hidden = false;
  }

  focus() {
    if (this.room !== null) this._say.focus({ preventScroll: true });
  }

  // -- what happened in the room -------------------------------------------------------------------------------

  redraw() {
    this._elements.clear();
    this._pending.clear();
    this._missed = 0;
    const log = this.room.log;
    const rows = log.messages.map((message) => this._element(message));
    this._list.replaceChildren(...rows);
    this._list.setAttribute("aria-busy", String(!log.isLoaded));
    for (const item of this.client.outbox.of(this.room.id)) this.pending(item);
    this._regroup();
    this._toBottom();
    this.marks();
  }

  gained(messages) {
    const isAtBottom = this._isAtBottom();
    for (const message of messages) {
      const own = message.sender === this.client.user && message.clientId ? this._pending.get(message.clientId) : undefined;
      if (own !== undefined) this._pending.delete(message.clientId);
      const element = this._element(message, own);
      this._list.insertBefore(element, this._firstPending());
      this._regroup(element);
      if (element.nextElementSibling) this._regroup(element.nextElementSibling);
    }
    this.marks();
    if (isAtBottom) this._toBottom();
    else this._miss(messages.filter((message) => message.sender !== this.client.user).length);
  }

  older(messages) {
    const height = this._scroll.scrollHeight;
    this._list.prepend(...messages.map((message) => this._element(message)));
    this._regroup();
    this._scroll.scrollTop += this._scroll.scrollHeight - height;
    byId("older").hidden = true;
    this.marks();
  }

  pending(item, isGone = false) {
    const known = this._pending.get(item.clientId);
    if (isGone) {
      known?.remove();
      this._pending.delete(item.clientId);
      this._regroup();
      return;
    }
    const isAtBottom = this._isAtBottom();
    const element = this._pendingElement(item, known);
    this._pending.set(item.clientId, element);
    if (known === undefined) {
      this._list.append(element);
      this._regroup(element);
    }
    if (isAtBottom || known === undefined) this._toBottom();
  }

  typing() {
    const names = [...this.room.typing].map(([user, name]) => this._nameOf(user, name));
    byId("typing").textContent = names.length ? `${listed(names)} ${names.length === 1 ? "is" : "are"} typing…` : "";
    byId("typing").classList.toggle("on", names.length > 0);
  }

  members(members) {
    this._members = members;
    this.presence();
    this.marks();
  }

  presence() {
    const online = this.room.online;
    const people = this._members.length ? this._members : [...online.values()].map((person) => ({ id: person.user, name: person.name }));
    const here = people.filter((person) => online.has(person.id));
    const total = this._members.length || this.room.memberCount || 0;
    byId("members").textContent = total ? `${count(total, "person", "people")}, ${here.length} here now` : "";
    byId("members").title = people.map((person) => person.name + (online.has(person.id) ? ", here now" : "")).join("\n");
    const shown = [...here, ...people.filter((person) => !online.has(person.id))].slice(0, FACES_MAX);
    byId("faces").replaceChildren(...shown.map((person) => face(person.id, person.name, online.has(person.id))));
  }

  // Under the last message that each of the others has read: their face.
  marks() {
    for (const element of this._list.querySelectorAll(".seen")) element.remove();
    if (this.room === null) return;
    const seqs = this.room.log.messages.map((message) => message.seq);
    const readers = new Map();
    for (const [user, seq] of this.room.marks) {
      if (user === this.client.user) continue;
      const at = seqs.findLast((known) => known <= seq);
      if (at !== undefined) readers.set(at, [...(readers.get(at) || []), user]);
    }
    for (const [seq, users] of readers) this._elements.get(seq)?.append(this._seen(users));
    this._read();
  }

  // -- elements ------------------------------------------------------------------------------------------------

  _element(message, reused) {
    const isOwn = message.sender === this.client.user;
    const name = this._nameOf(message.sender, message.senderName);
    const element = reused || make("li");
    element.className = `message${isOwn ? " own" : ""}`;
    Object.assign(element.dataset, { seq: message.seq, sender: message.sender, at: message.ts, day: day(message.ts) });
    element.replaceChildren(...this._inside(message.sender, name, message.ts, message.body, `seq ${message.seq}`));
    this._elements.set(message.seq, element);
    return element;
  }

  _pendingElement(item, reused) {
    const element = reused || make("li");
    element.className = `message own pending ${item.state}`;
    Object.assign(element.dataset, { clientId: item.clientId, sender: this.client.user, at: item.at, day: day(item.at) });
    const inside = this._inside(this.client.user, this._nameOf(this.client.user, "You"), item.at, item.body);
    element.replaceChildren(...inside);
    element.querySelector(".bubble").append(this._deliveryLine(item));
    return element;
  }

  _deliveryLine(item) {
    const reason = item.reason && item.state !== "sending" ? `: ${item.reason}` : "";
    const line = make("span", { class: "delivery" }, `${STATES[item.state]}${reason}`);
    if (item.state === "failed") {
      line.append(" ", make("button", { class: "link", onclick: () => this.client.retry(item) }, "Try again"), " ",
        make("button", { class: "link", onclick: () => this.client.discard(item) }, "Discard"));
    }
    return line;
  }

  _inside(user, name, at, body, note = "") {
    const time = make("time", { datetime: new Date(at).toISOString(), title: `${moment(at)}${note && ` · ${note}`}` }, clock(at));
    return [
      make("span", { class: "day", "aria-hidden": "true" }),
      face(user, name),
      make("div", { class: "bubble" }, make("p", { class: "who" }, make("b", {}, name), time), make("p", { class: "text" }, body)),
    ];
  }

  _seen(users) {
    const names = users.map((user) => this._nameOf(user, "Somebody"));
    const faces = users.slice(0, FACES_MAX).map((user, index) => face(user, names[index]));
    return make("p", { class: "seen", title: `Read by ${names.join(", ")}` }, make("span", { class: "soft" }, `Read by ${listed(names)}`), ...faces);
  }

  // Names and days are said once: what follows the same person within minutes is drawn closer.
  _regroup(element) {
    const elements = element ? [element] : this._list.children;
    for (const item of elements) {
      const before = item.previousElementSibling;
      const isNewDay = before === null || before.dataset.day !== item.dataset.day;
      const isClose = !isNewDay && before.dataset.sender === item.dataset.sender && item.dataset.at - before.dataset.at < GROUP_MS;
      item.classList.toggle("follows", isClose);
      item.querySelector(".day").textContent = isNewDay ? item.dataset.day : "";
    }
  }

  _firstPending() {
    return this._list.querySelector(":scope > .pending");
  }

  // -- scrolling and reading -----------------------------------------------------------------------------------

  _isAtBottom() {
    return this._scroll.scrollHeight - this._scroll.scrollTop - this._scroll.clientHeight < NEAR_BOTTOM_PX;
  }

  _toBottom() {
    this._scroll.scrollTop = this._scroll.scrollHeight;
    this._wasAtBottom = true;
    this._miss(-this._missed);
  }

  _miss(more) {
    this._missed += more;
    this._down.hidden = this._missed === 0;
    this._down.textContent = `${count(this._missed, "new message")} ↓`;
  }

  _scrolled() {
    this._wasAtBottom = this._isAtBottom();
    if (this._wasAtBottom) {
      this._miss(-this._missed);
      this._read();
    }
    if (this.room?.log.hasOlder && this._scroll.scrollTop < NEAR_TOP_PX && !this.room.isLoading) {
      byId("older").hidden = false;
      this.client.older(this.room.id);
    }
  }

  _read() {
    const isSeen = this.room !== null && document.visibilityState === "visible" && this._scroll.offsetParent !== null;
    if (isSeen && this.room.log.isLoaded && this._isAtBottom()) this.client.read(this.room.id, this.room.log.last);
  }

  // -- writing -------------------------------------------------------------------------------------------------

  _key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this._submit();
    }
  }

  _submit() {
    const body = this._say.value.trim();
    if (!body || this.room === null || [...body].length > BODY_CHARACTERS_MAX) return;
    try {
      this.client.send(this.room.id, body);
    } catch (fault) {
      byId("left").textContent = ` · ${fault.message}`;
      return;
    }
    this._say.value = "";
    this._grow();
    this._stopTyping();
    this._toBottom();
    this.focus();
  }

  _typed() {
    this._grow();
    if (this.room === null) return;
    clearTimeout(this._idle);
    if (!this._say.value.trim()) {
      this._stopTyping();
      return;
    }
    if (Date.now() - this._typedAt > TYPING_EVERY_MS) {
      this._typedAt = Date.now();
      this.client.type(this.room.id, true);
    }
    this._idle = setTimeout(() => this._stopTyping(), IDLE_MS);
  }

  _stopTyping() {
    clearTimeout(this._idle);
    if (this._typedAt === 0 || this.room === null) return;
    this._typedAt = 0;
    this.client.type(this.room.id, false);
  }

  _keepDraft() {
    this._stopTyping();
    if (this.room !== null) this._drafts.set(this.room.id, this._say.value);
  }

  _grow() {
    this._say.style.height = "auto";
    this._say.style.height = `${Math.min(this._say.scrollHeight + 2, 180)}px`;
    const left = BODY_CHARACTERS_MAX - [...this._say.value].length;
    byId("left").textContent = left < 1000 ? ` · ${left < 0 ? `${-left} too many` : `${left} left`}` : "";
    byId("send").disabled = left < 0;
  }
}
