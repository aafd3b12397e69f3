// The page: who one is, which room one looks at, and the parts that show it. Each part knows only what it is given.

import { Api, HttpFailed, signIn } from "./api.js";
import { Backstage } from "./backstage.js";
import { Conversation } from "./conversation.js";
import { byId, face, make } from "./dom.js";
import { Client } from "./greenroom.js";
import { RoomList } from "./rooms.js";

const SESSION = "greenroom-session";
const ROOMS_EVERY_MS = 4000;
const BANNER_AFTER_MS = 400;
const PRESENCE_MEMBERS_MAX = 200; // of a room in which the server tells who comes and goes
const DEMO_PEOPLE = [
  { id: 1, name: "Alex Creator", role: "makes" },
  { id: 2, name: "Sarah Investor", role: "invests" },
  { id: 3, name: "Stellar Production", role: "produces" },
];
const LINES = { live: "On air", connecting: "Connecting", open: "Catching up", waiting: "Waiting", stopped: "Stopped", idle: "" };

const DRAWER = matchMedia("(min-width: 720px) and (max-width: 1119px)"); // backstage lies over the talk

const TOUCH = matchMedia("(pointer: coarse)");

const house = byId("house");
const names = new Map();
const nameOf = (user, fallback) => names.get(user) || fallback || "Somebody";

let api = null;
let client = null;
let rooms = [];
let openRooms = [];
let current = null;
let bannerTimer = null;
let countdown = null;
let roomsTimer = null;
const leaving = new Set(); // rooms that we leave ourselves

// -- who ------------------------------------------------------------------------------------------------------

function keptSession() {
  try {
    return JSON.parse(sessionStorage.getItem(SESSION));
  } catch {
    return null;
  }
}

const keepSession = (session) => sessionStorage.setItem(SESSION, JSON.stringify(session));

function showEntrance() {
  house.hidden = true;
  byId("entrance").hidden = false;
  byId("people").replaceChildren(...DEMO_PEOPLE.map(({ id, name, role }) =>
    make("button", { type: "button", class: "person", onclick: () => enter(name) },
      face(id, name), make("span", {}, make("b", {}, name), make("span", { class: "soft small" }, role)))));
  byId("people").firstElementChild.focus();
}

async function enter(name) {
  byId("entrance-fault").textContent = "";
  byId("entrance-form").setAttribute("aria-busy", "true");
  try {
    const session = await signIn(name);
    keepSession(session);
    begin(session);
  } catch (fault) {
    byId("entrance-fault").textContent = fault.status === 404
      ? "The key has changed, as it does at each start: open the link that the server printed."
      : fault.status ? fault.message : "The server does not answer. Is it running?";
  } finally {
    byId("entrance-form").setAttribute("aria-busy", "false");
  }
}

function goOut() {
  clearInterval(roomsTimer);
  backstage.stop();
  client?.stop();
  client = null;
  current = null;
  rooms = [];
  sessionStorage.removeItem(SESSION);
  history.replaceState(null, "", "/");
  conversation.forget();
  notice("");
  showEntrance();
}

// -- the house ------------------------------------------------------------------------------------------------

async function begin(session) {
  byId("entrance").hidden = true;
  house.hidden = false;
  names.set(session.user.id, session.user.name);
  byId("me").replaceChildren(face(session.user.id, session.user.name), make("bdi", { class: "me-name" }, session.user.name),
    make("button", { class: "quiet", onclick: goOut }, "Go out"));
  api = new Api(session, keepSession);
  client = new Client({ user: session.user.id, ticket: () => api.socketAddress(), storage: sessionStorage });
  client.addEventListener("state", (event) => lineChanged(event.detail));
  client.addEventListener("room", (event) => roomChanged(event.detail));
  client.addEventListener("membership", (event) => membershipChanged(event.detail));
  showPane("rooms");
  backstage.start();
  roomList.waiting();
  await refreshRooms();
  if (client === null) return;
  client.start(rooms.map((room) => room.id));
  if (!chooseWanted()) (document.querySelector("#room-list button, #open-list button") || byId("room-title")).focus();
  clearInterval(roomsTimer);
  roomsTimer = setInterval(() => document.visibilityState === "visible" && refreshRooms(), ROOMS_EVERY_MS);
}

async function refreshRooms() {
  try {
    [rooms, openRooms] = await Promise.all([api.rooms(), api.openRooms()]);
  } catch (fault) {
    if (fault instanceof HttpFailed && fault.status === 401) goOut();
    return; // the banner says that the line is down; the next round tries again
  }
  if (client === null) return;
  const watched = client.rooms.get(current);
  if (watched?.memberCount > PRESENCE_MEMBERS_MAX) client.ask(current).catch(() => {}); // nobody tells: it is asked for
  for (const room of rooms) if (client.isLive && !client.room(room.id).isJoined) joinQuietly(room.id);
  if (current === null && house.dataset.pane === "rooms" && location.hash && !document.activeElement?.matches("input")) chooseWanted();
  drawRooms();
}

// The room that the address names, after a reload or from a link.
function chooseWanted() {
  const wanted = Number(/^#room\/(\d+)$/.exec(location.hash)?.[1]);
  if (!rooms.some((room) => room.id === wanted)) return false;
  choose(wanted);
  return true;
}

function joinQuietly(id) {
  client.join(id).catch(() => {}); // refused or cut: the next round tries again
}

function drawRooms() {
  const newest = (id) => client?.rooms.get(id)?.newest;
  const when = (room) => newest(room.id)?.ts || room.at;
  rooms.sort((a, b) => when(b) - when(a) || b.id - a.id);
  roomList.show(rooms, openRooms, { unreadOf: (id) => client?.rooms.get(id)?.unread || 0, newestOf: newest, nameOf });
  const unread = rooms.filter((room) => client?.rooms.get(room.id)?.unread > 0).length;
  document.title = unread ? `(${unread}) greenroom` : "greenroom";
  byId("tab-unread").hidden = unread === 0;
  byId("tab-unread").textContent = String(unread);
}

function choose(id, { withFocus = true } = {}) {
  const known = rooms.find((room) => room.id === id);
  if (known === undefined || client === null) return;
  current = id;
  history.replaceState(null, "", `#room/${id}`);
  conversation.show(client, client.room(id), known.title);
  roomList.mark(id);
  showPane("talk");
  notice("");
  refreshMembers(id);
  client.ask(id).catch(() => {}); // not up: asked when it is
  if (withFocus && TOUCH.matches) byId("scroll").focus({ preventScroll: true }); // a keyboard would cover the room
  else if (withFocus) conversation.focus();
}

async function refreshMembers(id) {
  let members;
  try {
    members = await api.members(id);
  } catch {
    return; // asked again with the next change of members
  }
  for (const member of members) {
    names.set(member.id, member.name);
    client?.mark(id, member.id, member.read);
  }
  if (current === id) conversation.members(members);
}

async function createRoom(title) {
  const room = await api.createRoom(title);
  await enterRoom(room.id);
}

async function joinRoom(id) {
  await api.joinRoom(id);
  await enterRoom(id);
}

async function enterRoom(id) {
  await refreshRooms();
  await client.join(id).catch(() => {});
  choose(id);
}

async function leaveRoom() {
  const id = current;
  try {
    await api.leaveRoom(id);
  } catch (fault) {
    byId("room-fault").textContent = fault.message;
    return;
  }
  leaving.add(id);
  membershipChanged({ room: id, change: "left" });
}

// -- what happens ---------------------------------------------------------------------------------------------

function membershipChanged({ room, change }) {
  if (change === "left") {
    const title = rooms.find((known) => known.id === room)?.title;
    if (title && !leaving.has(room)) notice("You are not in “", make("bdi", {}, title), "” any more.");
    client.forget(room);
    rooms = rooms.filter((known) => known.id !== room);
    if (current === room) {
      const hadFocus = byId("conversation").contains(document.activeElement);
      current = null;
      conversation.hide();
      history.replaceState(null, "", "/");
      showPane("rooms");
      if (hadFocus) byId("rooms").focus();
    }
    drawRooms();
  } else leaving.delete(room);
  refreshRooms();
}

// What happened to us in the list of rooms, until we go on.
function notice(...words) {
  byId("room-notice").replaceChildren(...words);
}

function roomChanged(event) {
  const { room, kind } = event;
  if (kind === "presence") for (const person of [...room.online.values(), ...room.away.values()]) if (person.name) names.set(person.user, person.name);
  if (["newest", "messages", "changed", "joined", "read", "reset", "marks"].includes(kind)) drawRooms();
  if (kind === "member") {
    learn(room.id);
  }
  if (kind === "refused") refreshRooms();
  if (room.id !== current) return;
  if (kind === "messages") {
    conversation.gained(event.messages);
    announce(event.messages);
  }
  if (kind === "changed") conversation.changed(event.message);
  if (kind === "reset") conversation.redraw();
  if (kind === "older") conversation.older(event.messages);
  if (kind === "pending") conversation.pending(event.item, event.isGone);
  if (kind === "typing" || kind === "messages") conversation.typing();
  if (kind === "marks") conversation.marks();
  if (kind === "presence") conversation.presence();
  if (kind === "joined") refreshMembers(room.id);
}

function learn(id) {
  refreshMembers(id);
  client.ask(id).catch(() => {}); // cut: presence comes anew with the next start
}

function announce(messages) {
  const others = messages.filter((message) => message.sender !== client.user).slice(-3);
  for (const message of others) {
    const line = make("p", {}, `${nameOf(message.sender, message.senderName)}: ${message.body.slice(0, 300)}`);
    byId("announcer").append(line);
    setTimeout(() => line.remove(), 5000);
  }
}

// The lamp shows every change at once; the banner only what lasts.
function lineChanged({ name, ...detail }) {
  byId("line").textContent = LINES[name];
  house.dataset.line = name;
  clearInterval(countdown);
  clearTimeout(bannerTimer);
  if (client !== null) conversation.line();
  if (name === "live" || name === "idle") {
    byId("banner").hidden = true;
    if (name === "live") refreshRooms();
    if (name === "live" && current !== null) client.ask(current).catch(() => {});
    return;
  }
  const isFirst = client === null || client.hello === null;
  const say = () => showBanner(name, detail);
  if (!byId("banner").hidden || name === "waiting" || name === "stopped") say();
  else bannerTimer = setTimeout(say, isFirst ? 2500 : BANNER_AFTER_MS);
  if (name === "waiting") countdown = setInterval(say, 500);
}

function showBanner(name, { at, message }) {
  const seconds = Math.max(0, Math.ceil(((at || 0) - Date.now()) / 1000));
  const text = {
    waiting: "The connection is lost. What you write is kept and sent later. Reconnecting…",
    connecting: "Reconnecting…",
    open: "Catching up…",
    stopped: `The connection was ended${message ? `: ${message}` : ""}.`,
  }[name];
  byId("banner").hidden = false;
  if (byId("banner-text").textContent !== text) byId("banner-text").textContent = text;
  byId("banner-when").textContent = name === "waiting" && seconds ? `in ${seconds} s` : ""; // not read out each second
  byId("banner-now").hidden = name !== "waiting" && name !== "stopped";
  byId("banner-now").textContent = name === "stopped" ? "Come in again" : "Try now";
}

// -- panes and keys -------------------------------------------------------------------------------------------

function showPane(pane) {
  house.dataset.pane = pane;
  for (const tab of document.querySelectorAll("#tabs button")) {
    if (tab.dataset.pane === pane) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  backstage.wake();
  if (pane === "talk" && current !== null) conversation.marks();
}

function toggleBackstage(isOpen = house.classList.contains("no-backstage")) {
  house.classList.toggle("no-backstage", !isOpen);
  byId("backstage-toggle").setAttribute("aria-expanded", String(isOpen));
  backstage.wake();
}

function pressed(event) {
  if (client === null || byId("letter").open || byId("who").matches(":popover-open")) return;
  if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
    event.preventDefault();
    const beside = roomList.beside(event.key === "ArrowUp" ? -1 : 1);
    if (beside !== null) choose(beside);
  } else if (event.key === "Escape" && !event.isComposing) {
    escape();
  }
}

// One step back: from backstage to the talk, from the talk to the rooms.
function escape() {
  if (house.dataset.pane === "backstage") showPane(current === null ? "rooms" : "talk");
  else if (DRAWER.matches && !house.classList.contains("no-backstage")) toggleBackstage(false);
  else {
    showPane("rooms");
    (document.querySelector("#room-list [aria-current]") || byId("room-title")).focus();
  }
}

const conversation = new Conversation({ nameOf, onLeave: leaveRoom, onBack: escape });
const backstage = new Backstage({ titleOf: (id) => [...rooms, ...openRooms].find((room) => room.id === id)?.title });
const roomList = new RoomList({ onChoose: choose, onJoin: joinRoom, onCreate: createRoom });

document.addEventListener("keydown", pressed);
byId("backstage-toggle").addEventListener("click", () => toggleBackstage());
byId("banner-now").addEventListener("click", () => (client.connection.name === "stopped" ? goOut() : client.connection.nudge()));
byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the room
  (current === null ? document.querySelector("#room-list button") || byId("room-title") : byId("say")).focus();
});
byId("entrance-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = byId("name").value.trim();
  if (name) return enter(name);
  byId("entrance-fault").textContent = "Write a name first, or take one of those above.";
  byId("name").focus();
});
for (const tab of document.querySelectorAll("#tabs button")) tab.addEventListener("click", () => showPane(tab.dataset.pane));
DRAWER.addEventListener("change", () => toggleBackstage(!DRAWER.matches));
toggleBackstage(!DRAWER.matches);

// The key came in the address; from now on a cookie has it, and no screenshot or history needs to.
if (location.search) history.replaceState(null, "", location.pathname + location.hash);

const kept = keptSession();
if (kept?.user && kept.token) begin(kept);
else showEntrance();
