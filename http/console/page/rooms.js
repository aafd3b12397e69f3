// The list of rooms: one's own, newest first, with what was said last and what is unread; open ones to step into.

import { ago, byId, count, make } from "./dom.js";

const PREVIEW_CHARACTERS = 200;

export class RoomList {
  // onChoose(id), onJoin(id), onCreate(title): the last two return promises.
  constructor({ onChoose, onJoin, onCreate }) {
    this.rooms = [];
    this.open = [];
    this.current = null;
    this._onChoose = onChoose;
    this._onJoin = onJoin;
    this._list = byId("room-list");
    this._openList = byId("open-list");
    this._fault = byId("room-fault");
    byId("room-form").addEventListener("submit", async (event) => {
      event.preventDefault();
      const field = byId("room-title");
      const title = field.value.trim();
      if (!title) {
        field.focus();
        return;
      }
      if (await this._try(() => onCreate(title), byId("room-create"))) field.value = "";
    });
    byId("room-title").addEventListener("keydown", (event) => {
      if (event.key === "Escape") event.target.value = "";
    });
  }

  // Nobody has told yet which rooms there are.
  waiting() {
    this._none("Looking for your rooms…", true);
  }

  _none(text, isSoon) {
    byId("room-none").hidden = text === "";
    byId("room-none").textContent = text;
    byId("room-none").classList.toggle("soon", isSoon);
  }

  // unreadOf(id), newestOf(id): what the client knows beyond the list.
  show(rooms, open, { unreadOf, newestOf, nameOf }) {
    this.rooms = rooms;
    this.open = open.filter((room) => !rooms.some((own) => own.id === room.id));
    const focused = document.activeElement?.dataset?.room;
    replaceIfChanged(this._list, rooms.map((room) => this._row(room, unreadOf(room.id), newestOf(room.id), nameOf)));
    replaceIfChanged(this._openList, this.open.map((room) => this._openRow(room)));
    this.mark(this.current);
    byId("open").hidden = this.open.length === 0;
    this._none(rooms.length ? "" : "You are in no room yet. Make one, or step into an open one.", false);
    if (focused && document.activeElement === document.body) {
      document.querySelector(`#rooms [data-room="${focused}"]`)?.focus();
    }
  }

  mark(current) {
    this.current = current;
    for (const button of this._list.querySelectorAll("button")) {
      if (Number(button.dataset.room) === current) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  // The room above (-1) or below (+1) the current one, around the ends.
  beside(step) {
    if (!this.rooms.length) return null;
    const at = this.rooms.findIndex((room) => room.id === this.current);
    return this.rooms[(at + step + this.rooms.length) % this.rooms.length].id;
  }

  _row(room, unread, newest, nameOf) {
    const preview = newest ? [make("bdi", {}, nameOf(newest.sender, newest.senderName)), ": ", make("bdi", {}, newest.body.slice(0, PREVIEW_CHARACTERS))]
      : [make("bdi", {}, room.preview.slice(0, PREVIEW_CHARACTERS) || "Nothing said yet")];
    const at = newest ? newest.ts : room.at;
    const badge = unread > 0 && make("span", { class: "badge" }, String(unread > 99 ? "99+" : unread), make("span", { class: "hidden" }, " unread"));
    return make("li", {},
      make("button", {
        class: "room", "data-room": room.id, "aria-current": room.id === this.current && "true",
        onclick: () => this._onChoose(room.id),
      },
      make("span", { class: "room-title" }, room.title),
      at ? make("span", { class: "room-at soft" }, ago(at)) : null,
      make("span", { class: "room-preview soft" }, ...preview),
      badge));
  }

  _openRow(room) {
    const button = make("button", { class: "join", "data-room": room.id, "aria-label": `Join ${room.title}` }, "Join");
    button.addEventListener("click", () => this._try(() => this._onJoin(room.id), button));
    const people = room.count === null ? null : make("span", { class: "soft small" }, count(room.count, "person", "people"));
    return make("li", { class: "open-room" }, make("span", { class: "grow" }, make("span", { class: "room-title" }, room.title), people), button);
  }

  async _try(work, button) {
    button.disabled = true;
    this._fault.textContent = "";
    try {
      await work();
      return true;
    } catch (fault) {
      this._fault.textContent = fault.message;
      return false;
    } finally {
      button.disabled = false;
    }
  }
}

// What looks the same stays: a press of a button must not lose the button under it.
function replaceIfChanged(list, items) {
  const key = (item) => `${item.querySelector("[data-room]").dataset.room} ${item.textContent}`;
  const isSame = list.children.length === items.length && items.every((item, at) => key(item) === key(list.children[at]));
  if (!isSame) list.replaceChildren(...items);
}
