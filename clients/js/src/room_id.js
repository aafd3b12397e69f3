// The id of a room at the door of the client: a number, or its digits, as URLs and forms have it. Pure.

// The number. Throws TypeError.
export function roomIdOf(given) {
  const number = typeof given === "string" && /^[0-9]{1,16}$/.test(given) ? Number(given) : given;
  if (Number.isSafeInteger(number) && number > 0) return number;
  throw new TypeError(`${shown(given)} is no id of a room: give the number, or its digits`);
}

function shown(given) {
  return typeof given === "string" ? JSON.stringify(given.slice(0, 40)) : typeof given === "object" ? "an object" : String(given);
}
