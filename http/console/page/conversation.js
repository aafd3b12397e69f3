// One conversation on the screen: messages, what is still on its way, who types, who has read how far, the box to write.
//
// Each message is one element for its whole life: what was shown at once keeps its element when the server confirms it.
// Order on the screen is the order of the log; whatever is unconfirmed stands after it.

import { ago, byId, clock, count, day, exact, face, listed, make, moment } from "./dom.js";
import { Place } from "./place.js";

const BODY_CHARACTERS_MAX = 10_000;
const NEAR_TOP_PX = 240;
const TYPING_EVERY_MS = 3000;
const IDLE_MS = 3000;
const GROUP_MS = 5 * 60_000;
const FACES_MAX = 4;
const MEMBERS_MAX = 200; // of a list of members

const STATUSES = { online: "here now", away: "here, but away", busy: "here, but busy", dnd: "here, not to be disturbed" };
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
    this._place = new Place(this._scroll, this._list, () => this._scrolled());
    this._say = byId("say");
    this._down = byId("down");
    this._down.addEventListener("click", () => {
      this._toEnd();
      this.focus();
    });
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
    byId("who").addEventListener("beforetoggle", (event) => event.newState === "open" && this._openWho());
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
    byId("older").hidden = true;
    this.redraw();
    this.presence();
    this.typing();
    client.open(room.id);
    this.still();
  }

  hide() {
    this._keepDraft();
    this.room = null;
    byId("who").hidePopover();
    byId("conversation").hidden = true;
    byId("empty").hidden = false;
  }

  // Another person comes: what this one has begun to write is nobody's business.
  forget() {
    this.hide();
    this._drafts.clear();
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
    this.marks();
    this._toEnd();
    this.still();
  }

  // What is said of a room in which nothing stands.
  still() {
    const isLoaded = this.room.log.isLoaded;
    const text = isLoaded ? "Nothing said yet. The first word is yours." : this.client.isLive ? "Opening…" : "What was said here comes with the connection.";
    byId("still").hidden = this._list.children.length > 0;
    byId("still").textContent = text;
    byId("still").classList.toggle("soon", !isLoaded);
  }

  gained(messages) {
    for (const message of messages) {
      const own = message.sender === this.client.user && message.clientId ? this._pending.get(message.clientId) : undefined;
      if (own !== undefined) this._pending.delete(message.clientId);
      const element = this._element(message, own);
      this._list.insertBefore(element, this._firstPending());
      this._regroup(element);
      if (element.nextElementSibling) this._regroup(element.nextElementSibling);
    }
    this._dropOldest();
    this.still();
    this.marks();
    if (!this._place.isAtEnd) this._miss(messages.filter((message) => message.sender !== this.client.user).length);
  }

  changed(message) {
    const element = this._elements.get(message.seq);
    if (element === undefined) return;
    this._element(message, element);
    this._regroup(element);
    this.marks();
  }

  older(messages) {
    this._list.prepend(...messages.map((message) => this._element(message)));
    this._regroup();
    this.marks();
  }

  pending(item, isGone = false) {
    const known = this._pending.get(item.clientId);
    if (isGone) {
      known?.remove();
      this._pending.delete(item.clientId);
      this._regroup();
      this.still();
      this._place.keep();
      return;
    }
    const element = this._pendingElement(item, known);
    this._pending.set(item.clientId, element);
    if (known === undefined) {
      this._list.append(element);
      this._regroup(element);
      this.still();
      this._toEnd();
    } else this._place.keep();
  }

  // The line went down or came up.
  line() {
    if (this.room === null) return;
    this.presence();
    this.typing();
    this.still();
  }

  typing() {
    const names = [...this.room.typing].map(([user, name]) => this._nameOf(user, name));
    byId("typing").replaceChildren(...(names.length ? [...listed(names), ` ${names.length === 1 ? "is" : "are"} typing…`] : []));
  }

  members(members) {
    this._members = members;
    this.presence();
    this.marks();
  }

  presence() {
    const { isPresenceKnown, online } = this.room;
    const people = this._people();
    const here = people.filter((person) => online.has(person.id));
    const total = this._total();
    const present = isPresenceKnown ? `${this._members.length < MEMBERS_MAX ? here.length : online.size} here now` : "presence unknown";
    byId("members").hidden = total === 0;
    byId("members").textContent = `${count(total, "person", "people")}, ${present}`;
    this._ranked = [...here, ...people.filter((person) => !online.has(person.id))];
    byId("faces").replaceChildren(...this._ranked.slice(0, FACES_MAX).map((person) => this._face(person)));
    if (byId("who").matches(":popover-open")) this._drawWho();
  }

  _people() {
    if (this._members.length) return this._members;
    return [...this.room.online.values(), ...this.room.away.values()].map((person) => ({ id: person.user, name: this._nameOf(person.user, person.name) }));
  }

  // A long list of members is cut; the server has told how many there are.
  _total() {
    const told = this.room.memberCount || 0;
    return this._members.length && this._members.length < MEMBERS_MAX ? this._members.length : Math.max(told, this._members.length);
  }

  _face(person) {
    return face(person.id, person.name, this.room.isPresenceKnown ? this.room.online.has(person.id) : "unknown");
  }

  _openWho() {
    this._drawWho();
    const { left, bottom } = byId("members").getBoundingClientRect();
    byId("who").style.setProperty("--left", `${Math.max(8, left)}px`);
    byId("who").style.setProperty("--top", `${bottom + 6}px`);
    this.client.ask(this.room.id).catch(() => {}); // cut: what was known stands there
  }

  _drawWho() {
    const rest = this._total() - this._ranked.length;
    const more = rest > 0 && make("li", { class: "soft" }, `and ${rest} more`);
    const rows = this._ranked.map((person) => make("li", {}, this._face(person),
      make("span", { class: "grow" }, make("bdi", {}, person.name), make("span", { class: "soft small" }, this._whereIs(person)))));
    byId("who-list").replaceChildren(...rows, ...(more ? [more] : []));
  }

  _whereIs({ id }) {
    const seen = this.room.away.get(id)?.lastSeen;
    const state = this.room.isPresenceKnown && this.room.online.has(id) ? STATUSES[this.room.online.get(id).status] || STATUSES.online
      : seen ? (Date.now() - seen < 60_000 ? "here a moment ago" : `here ${ago(seen)} ago`) : this.room.isPresenceKnown ? "not here" : "not known";
    return id === this.client.user ? `you, ${state}` : state;
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
    this._place.keep();
    this._read();
  }

  // -- elements ------------------------------------------------------------------------------------------------

  _element(message, reused) {
    const isOwn = message.sender === this.client.user;
    const name = this._nameOf(message.sender, message.senderName);
    const element = reused || make("li");
    element.className = `message${isOwn ? " own" : ""}`;
    Object.assign(element.dataset, { seq: message.seq, sender: message.sender, at: message.ts, day: day(message.ts) });
    const note = `seq ${message.seq}${message.edited && !message.deleted ? ", edited" : ""}`;
    element.classList.toggle("deleted", Boolean(message.deleted));
    element.replaceChildren(...this._inside(message.sender, name, message.ts, message.deleted ? "deleted" : message.body, note));
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
    const until = reason && item.state === "queued" && item.until > Date.now() ? `; again at ${exact(item.until)}` : "";
    const line = make("span", { class: "delivery" }, `${STATES[item.state]}${reason}${until}`);
    if (item.state === "failed") {
      line.append(" ", make("button", { class: "link", onclick: () => this.client.retry(item) }, "Try again"), " ",
        make("button", { class: "link", onclick: () => this.client.discard(item) }, "Discard"));
    }
    return line;
  }

  _inside(user, name, at, body, note = "") {
    const time = make("time", { datetime: new Date(at).toISOString(), title: `${moment(at)}${note && ` · ${note}`}` }, clock(at));
    return [
      make("span", { class: "day" }),
      face(user, name),
      make("div", { class: "bubble" }, make("p", { class: "who" }, make("b", {}, make("bdi", {}, name)), time), make("p", { class: "text" }, body)),
    ];
  }

  _seen(users) {
    const names = users.map((user) => this._nameOf(user, "Somebody"));
    const faces = users.slice(0, FACES_MAX).map((user, index) => face(user, names[index]));
    return make("p", { class: "seen", title: `Read by ${names.join(", ")}` }, make("span", { class: "soft" }, "Read by ", ...listed(names)), ...faces);
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

  _toEnd() {
    this._place.toEnd();
    this._miss(-this._missed);
  }

  _miss(more) {
    this._missed += more;
    this._down.hidden = this._missed === 0;
    this._down.textContent = `${count(this._missed, "new message")} ↓`;
  }

  _scrolled() {
    if (this.room === null) return;
    if (this._place.isAtEnd) {
      this._miss(-this._missed);
      this._read();
    }
    if (this._scroll.scrollTop < NEAR_TOP_PX) this._lookBack(this.room);
  }

  async _lookBack(room) {
    if (!room.log.hasOlder || room.isLoading || !this.client.isLive) return;
    byId("older").hidden = false;
    await this.client.older(room.id);
    if (room === this.room) byId("older").hidden = true;
  }

  // The log keeps so many and no more; what it let go of is loaded again by whoever looks back.
  _dropOldest() {
    const { messages } = this.room.log;
    if (this._elements.size <= messages.length) return;
    for (const [seq, element] of this._elements) {
      if (seq >= messages[0].seq) continue;
      element.remove();
      this._elements.delete(seq);
    }
  }

  _read() {
    const isSeen = this.room !== null && document.visibilityState === "visible" && this._scroll.offsetParent !== null;
    if (isSeen && this.room.log.isLoaded && this._place.isAtEnd) this.client.read(this.room.id, this.room.log.last);
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
    const height = this._say.scrollHeight; // none while the talk is out of sight
    if (height > 0) this._say.style.height = `${Math.min(height + 2, 180)}px`;
    const left = BODY_CHARACTERS_MAX - [...this._say.value].length;
    byId("left").textContent = left < 1000 ? ` · ${left < 0 ? `${-left} too many` : `${left} left`}` : "";
    byId("send").disabled = left < 0;
  }
}
