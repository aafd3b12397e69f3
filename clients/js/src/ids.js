// What names rooms, people and files, at the door of the client. Pure.
//
// Rooms and people are numbers, or their digits, as URLs and forms have them; files have keys.

// The number. Throws TypeError.
export function roomIdOf(given) {
  return numberOf(given, "a room");
}

// The numbers, each once, in their order. Throws TypeError.
export function peopleOf(given) {
  if (!isList(given)) throw new TypeError(`${shown(given)} is no list of users`);
  return [...new Set(Array.from(given, (one) => numberOf(one, "a user")))];
}

// The keys of files, as they were given. Throws TypeError.
export function keysOf(given) {
  const keys = isList(given) ? [...given] : [null];
  if (keys.every((key) => typeof key === "string")) return keys;
  throw new TypeError(`${shown(given)} are no keys of files: give a list of texts, each the \`key\` of an upload`);
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
