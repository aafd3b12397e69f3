// Small words for the page. Text goes in as text nodes only: nothing that anybody writes can become markup.

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

// The first letter or digit, with what belongs to it, of the first word and of the last that have one.
export function initials(name) {
  const letters = name.split(/\s+/u).map((word) => /[\p{L}\p{N}]\p{M}*/u.exec(word)?.[0]).filter(Boolean);
  return [letters[0], letters.length > 1 && letters[letters.length - 1]].filter(Boolean).join("").toUpperCase() || "?";
}

// A face: initials on a colour that a person keeps.
export function face(user, name, isOnline) {
  const element = make("span", { class: "face", "aria-hidden": "true" }, initials(name));
  element.style.setProperty("--hue", String((Number(user) * 137.508 + 40) % 360));
  if (isOnline !== undefined) element.dataset.online = String(isOnline);
  return element;
}

const CLOCK = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
const EXACT = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });
const FULL = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "medium" });

export const clock = (at) => CLOCK.format(at);
export const exact = (at) => EXACT.format(at);
export const moment = (at) => FULL.format(at);

export function day(at) {
  const date = new Date(at).toDateString();
  if (date === new Date().toDateString()) return "Today";
  if (date === new Date(Date.now() - 86_400_000).toDateString()) return "Yesterday";
  return DAY.format(at);
}

export function ago(at) {
  const seconds = Math.max(0, (Date.now() - at) / 1000);
  if (seconds < 60) return "now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

// Names in a sentence, as nodes: each keeps its direction of writing to itself.
export function listed(names) {
  const told = names.length > 3 ? names.slice(0, 2) : names;
  const others = names.length - told.length;
  const parts = told.flatMap((name, at) => {
    const isLast = at === told.length - 1 && others === 0;
    return [at === 0 ? "" : isLast ? " and " : ", ", make("bdi", {}, name)];
  });
  return others ? [...parts, ` and ${others} others`] : parts;
}
