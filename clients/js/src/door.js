// The door of the client: what it is given is taken, or refused with TypeError before anything has changed. Pure.
//
// Rooms and people are numbers, or their digits, as URLs and forms have them; files have keys; lines may have client ids.

const CLIENT_ID_CHARACTERS_MAX = 255;
const DEVICE_CHARACTERS_MAX = 64;
export const DETAILS = ["kind", "format", "replyTo", "thread", "mentions"];

// The number. Throws TypeError.
export function roomIdOf(given) {
  return numberOf(given, "a room");
}

// The numbers, each once, in their order. Throws TypeError.
export function peopleOf(given) {
  if (!isList(given)) throw new TypeError(`${shown(given)} is no list of users`);
  return [...new Set(Array.from(given, (one) => numberOf(one, "a user")))];
}

// Something said; without a clientId it gets one. Throws TypeError.
export function lineOf(roomId, body, options) {
  if (typeof options !== "object" || options === null) throw new TypeError("options are an object: { clientId, attachments, details }");
  const { clientId, attachments = [], details } = options;
  const what = { body: bodyOf(body), attachments: keysOf(attachments), details: detailsOf(details ?? {}) };
  return { roomId: roomIdOf(roomId), clientId: clientIdOf(clientId ?? newClientId()), ...what };
}

// What a line says. What is right in it is for the server to say. Throws TypeError.
export function bodyOf(given) {
  if (typeof given === "string") return given;
  throw new TypeError(`${shown(given)} is no text: what is said is one`);
}

// A number of something, or a place in a log. Throws TypeError.
export function countOf(given, what) {
  if (Number.isSafeInteger(given) && given >= 0) return given;
  throw new TypeError(`${shown(given)} cannot be \`${what}\`: give a whole number from 0 on`);
}

// The name of a device. Throws TypeError.
export function deviceOf(given) {
  if (typeof given === "string" && [...given].length <= DEVICE_CHARACTERS_MAX) return given;
  throw new TypeError(`${shown(given)} is no name of a device: give a text of at most ${DEVICE_CHARACTERS_MAX} characters`);
}

// That of the socket at a server. Throws TypeError.
export function addressOf(given) {
  let url;
  try {
    url = new URL(given);
  } catch {
    url = { protocol: "" };
  }
  const isAddress = /^(http|ws)s?:$/.test(url.protocol) && url.port !== "0" && url.search === "" && url.hash === "";
  if (!isAddress) throw new TypeError(`${shown(given)} is no address of a server: give one such as http://127.0.0.1:8787`);
  return `${url.protocol.replace("http", "ws")}//${url.host}${url.pathname.replace(/\/+$/, "")}/ws`;
}

// What there is to show, or to ask for it; nothing where the cookie must do. Throws TypeError.
export function tokenOf(given) {
  if (given === undefined || given === null || typeof given === "string" || typeof given === "function") return given;
  throw new TypeError("a token is a text, or a function that returns one");
}

// A header can carry it, as that of other clients: no other token is one, and none of them is worth a connection.
export function isShowable(token) {
  return token === undefined || token === null || (typeof token === "string" && /^[!-~]([ -~]*[!-~])?$/.test(token));
}

function clientIdOf(given) {
  if (typeof given === "string" && given !== "" && [...given].length <= CLIENT_ID_CHARACTERS_MAX) return given;
  throw new TypeError(`${shown(given)} is no client id: give a text of 1 to ${CLIENT_ID_CHARACTERS_MAX} characters`);
}

// Not randomUUID: pages that came over plain HTTP have none.
function newClientId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function keysOf(given) {
  const keys = isList(given) ? [...given] : [null];
  if (keys.every((key) => typeof key === "string")) return keys;
  throw new TypeError(`${shown(given)} are no keys of files: give a list of texts, each the \`key\` of an upload`);
}

// What else is said of a line, as it is now. What is right in it is for the server to say.
function detailsOf(given) {
  const isOne = typeof given === "object" && !Array.isArray(given) && Object.keys(given).every((key) => DETAILS.includes(key));
  if (isOne) return JSON.parse(JSON.stringify(given));
  throw new TypeError(`${shown(given)} cannot be \`details\`: give an object with some of ${DETAILS.join(", ")}`);
}

function numberOf(given, whose) {
  const number = typeof given === "string" && /^[0-9]{1,16}$/.test(given) ? Number(given) : given;
  if (Number.isSafeInteger(number) && number > 0) return number;
  throw new TypeError(`${shown(given)} is no id of ${whose}: give the number, or its digits`);
}

function isList(given) {
  return typeof given === "object" && given !== null && Symbol.iterator in given;
}

function shown(given) {
  return typeof given === "string" ? JSON.stringify(given.slice(0, 40)) : typeof given === "object" ? "an object" : String(given);
}
