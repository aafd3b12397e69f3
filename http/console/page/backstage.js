// The runtime while one talks: rooms, sockets, mailboxes, restarts, asked for each second while somebody looks; and the
// mail that was caught instead of being sent.

import { mail, mails, statistics } from "./api.js";
import { ago, byId, make, moment } from "./dom.js";

const EVERY_MS = 1000;
const SHUT_EVERY_MS = 10_000; // while the key is another one: it may come back in a cookie
const MAIL_EVERY = 5; // rounds
const PULSE_SECONDS = 60;
const NUMBER = new Intl.NumberFormat([], { notation: "compact", maximumFractionDigits: 1 });

const number = (value) => (value < 10_000 ? String(value) : NUMBER.format(value));

export class Backstage {
  // titleOf(room); the panel is asked whether it is in sight.
  constructor({ titleOf }) {
    this._titleOf = titleOf;
    this._panel = byId("backstage");
    this._last = null;
    this._process = null;
    this._pulse = [];
    this._round = 0;
    this._timer = null;
    byId("letter-close").addEventListener("click", () => byId("letter").close());
    byId("letter").addEventListener("close", () => byId("letter-body").replaceChildren());
    document.addEventListener("visibilitychange", () => this.wake());
  }

  start() {
    this._isOn = true;
    this.wake();
  }

  stop() {
    this._isOn = false;
    clearTimeout(this._timer);
    this._timer = null;
  }

  wake() {
    if (this._isOn && this._timer === null && this._isSeen()) this._turn();
  }

  _isSeen() {
    return document.visibilityState === "visible" && this._panel.offsetParent !== null;
  }

  async _turn() {
    this._timer = -1;
    let pause = EVERY_MS;
    try {
      if (this._round++ % MAIL_EVERY === 0) this._showMails((await mails()).mails);
      this._show(await statistics());
      this._say("");
    } catch (fault) {
      if (fault.status === 404) pause = SHUT_EVERY_MS;
      this._say(fault.status === 404
        ? "The server was started again. The link that it printed opens backstage again; talking goes on."
        : "The server does not answer; this is how it last was.");
    }
    this._timer = null;
    if (this._isOn && this._isSeen()) this._timer = setTimeout(() => this._turn(), pause);
  }

  _say(text) {
    const fault = byId("backstage-fault");
    if (fault.textContent !== text) fault.textContent = text;
    this._panel.classList.toggle("stale", text !== "");
  }

  _show(view) {
    const { system, engine, committer, pool, hub } = view;
    const kinds = Object.entries(system.kinds);
    const sum = (name) => kinds.reduce((total, [, kind]) => total + kind[name], 0);
    const room = system.kinds.room || { loaded: 0 };
    this._vitals([
      ["Rooms awake", room.loaded, "stat-awake"],
      ["Sockets", engine.connections, "stat-connections"],
      ["In mailboxes", sum("depth"), "stat-depth"],
      ["Restarts", sum("restarts"), "stat-restarts", sum("restarts") > 0],
    ]);
    this._beat(view, sum("turns"), committer.committed);
    byId("pulse-note").textContent = system.storageIsAway ? "storage is away" : `process ${view.process}`;
    byId("stat-rooms").replaceChildren(...(view.rooms.length ? view.rooms.map((line) => this._roomRow(line)) : [emptyRow("No room is awake", 5)]));
    byId("stat-kinds").replaceChildren(...kinds.map(([name, kind]) => row(name.replaceAll("_", " "), kind.loaded, kind.depth, kind.turns, kind.restarts)));
    const closed = Object.entries(engine.closed).map(([code, times]) => `${code} × ${times}`).join(", ");
    pairs(byId("stat-sockets"), [
      ["people", engine.users], ["joined to rooms", hub.attachments], ["since the start", engine.adopted],
      ["frames in", engine.framesIn], ["ephemeral dropped", engine.droppedEphemeral], ["closed", closed || "none"],
    ]);
    pairs(byId("stat-storage"), [
      ["commits waiting", committer.waiting], ["committed", committer.committed], ["batches", committer.batches],
      ["largest batch", committer.batchUnitsPeak], ["connections", `${pool.size - pool.idle} of ${pool.connectionsMax} busy`],
      ["crashes", system.crashes], ["put to sleep", system.passivated], ["asks pending", system.asksPending],
    ]);
    lines(byId("stat-letters"), view.deadLetters.map((letter) => make("li", {}, make("b", {}, letter.command), ` to ${letter.to}, ${letter.reason}`, make("span", { class: "soft" }, ` ${ago(letter.at)}`))), "None. Nothing was lost.");
  }

  _vitals(items) {
    const list = byId("vitals");
    if (!list.children.length) {
      list.append(...items.map(([name, , id]) => make("div", {}, make("dt", {}, name), make("dd", { id }))));
    }
    for (const [, value, id, isLoud] of items) {
      byId(id).textContent = number(value);
      byId(id).classList.toggle("loud", Boolean(isLoud));
    }
  }

  // Turns and commits per second: the difference of two looks. Another process starts anew.
  _beat(view, turns, commits) {
    const last = this._last;
    this._last = { at: view.at, process: view.process, turns, commits };
    if (last === null || last.process !== view.process || view.at <= last.at) return;
    const seconds = (view.at - last.at) / 1000;
    this._pulse.push([(turns - last.turns) / seconds, (commits - last.commits) / seconds].map((rate) => Math.max(0, rate)));
    if (this._pulse.length > PULSE_SECONDS) this._pulse.shift();
    const top = Math.max(5, ...this._pulse.flat());
    const [turnRate, commitRate] = this._pulse[this._pulse.length - 1];
    byId("pulse-rate").textContent = `${turnRate.toFixed(1)} and ${commitRate.toFixed(1)} per second`;
    byId("pulse").firstElementChild.replaceChildren(this._line(0, top, "turns"), this._line(1, top, "commits"));
  }

  _line(index, top, name) {
    const from = PULSE_SECONDS - this._pulse.length;
    const points = this._pulse.map((rates, at) => `${(((from + at) / (PULSE_SECONDS - 1)) * 240).toFixed(1)},${(53 - (rates[index] / top) * 50).toFixed(1)}`);
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("points", points.join(" "));
    line.setAttribute("class", name);
    line.setAttribute("vector-effect", "non-scaling-stroke");
    return line;
  }

  _roomRow(line) {
    const title = this._titleOf(line.room);
    const made = row(title || `room/${line.room}`, line.depth, line.sockets, line.turns, line.restarts);
    made.title = `room/${line.room}, ${line.phase}; deepest ${line.depthPeak}, refused ${line.refused}; idle ${line.idleSeconds} s`;
    made.dataset.phase = line.phase;
    return made;
  }

  // -- mail ----------------------------------------------------------------------------------------------------

  _showMails(list) {
    lines(byId("mail-list"), list.map((item) => make("li", {},
      make("button", { class: "link mail", onclick: () => this._open(item.name) },
        make("b", {}, item.subject || "(no subject)"), make("span", { class: "soft" }, ` ${item.to} · ${ago(item.at)}`)))),
    "None. Mail that greenroom sends in development lands here.");
  }

  async _open(name) {
    let letter;
    try {
      letter = await mail(name);
    } catch (fault) {
      this._say(fault.message);
      return;
    }
    byId("letter-subject").textContent = letter.subject || "(no subject)";
    const files = letter.files.map((file) => `${file.name} (${file.bytes} bytes)`).join(", ");
    pairs(byId("letter-head"), [["from", letter.sender], ["to", letter.to], ["copy", letter.cc], ["date", moment(Date.parse(letter.date) || Date.now())], ["files", files]].filter(([, value]) => value));
    const text = make("pre", {}, letter.text || "(no text)");
    const html = letter.hasHtml && looks(`/api/dev/mail/${encodeURIComponent(name)}/html`);
    byId("letter-note").textContent = "";
    byId("letter-body").replaceChildren(...[html, letter.hasHtml ? make("details", {}, make("summary", {}, "As text"), text) : text].filter(Boolean));
    byId("letter").showModal();
  }
}

// A mail in a frame of its own that runs nothing and loads nothing. Whoever follows a link in it gets the mail back.
function looks(src) {
  const frame = make("iframe", { sandbox: "", title: "The mail as it looks", src });
  frame.inert = true; // until it is there: each load is then either the mail's or that of a link in it
  frame.addEventListener("load", () => {
    if (!frame.inert) {
      byId("letter-note").textContent = "Links in a mail are not followed here.";
      frame.src = src;
      byId("letter-close").focus(); // Escape is not heard from within the frame
    }
    frame.inert = !frame.inert;
  });
  return frame;
}

function row(name, ...values) {
  return make("tr", {}, make("th", { scope: "row" }, name), ...values.map((value) => make("td", { class: value ? "" : "zero" }, number(value))));
}

const emptyRow = (text, columns) => make("tr", {}, make("td", { colspan: columns, class: "soft" }, text));

function pairs(list, items) {
  list.replaceChildren(...items.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, typeof value === "number" ? number(value) : value))));
}

// Kept as they are when nothing changed, so that what has the focus keeps it.
function lines(list, items, none) {
  const made = items.length ? items : [make("li", { class: "soft" }, none)];
  const isSame = list.children.length === made.length && made.every((item, at) => item.textContent === list.children[at].textContent);
  if (!isSame) list.replaceChildren(...made);
}
