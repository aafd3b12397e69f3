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

export function initials(name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters.map((word) => [...word][0].toUpperCase()).join("") || "?";
}

// A face: initials on a colour that a person keeps.
export function face(user, name, isOnline) {
  const element = make("span", { class: "face", "aria-hidden": "true" }, initials(name));
  element.style.setProperty("--hue", String((Number(user) * 137.508 + 40) % 360));
  if (isOnline !== undefined) element.dataset.online = String(isOnline);
  return element;
}

const CLOCK = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });
const FULL = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "medium" });

export const clock = (at) => CLOCK.format(at);
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

export function listed(names) {
  if (names.length < 2) return names.join("");
  if (names.length > 3) return `${names.slice(0, 2).join(", ")} and ${names.length - 2} others`;
  return `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;
}
