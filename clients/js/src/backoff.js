// How long to wait after a connection was lost. Pure.
//
// The range of the close code is the policy, so that a code of tomorrow is handled rightly today: 1000 and 40xx stop,
// 41xx back off for at least a second, 42xx come back at once. Every wait has full jitter: those who were cut together
// do not come back together.

export const RETRY_SECONDS_FIRST = 0.5;
export const RETRY_SECONDS_MAX = 30;
export const HEEDED_SECONDS_MAX = 300; // of a wait that the server names: a longer one is a fault of somebody's
export const MOVE_SECONDS_MAX = 1; // of jitter behind the moment that the server names
const DOUBLINGS_MAX = 8;
const OURS_TO_MEND = [1002, 1007, 1009]; // what we said was wrong: not at once again

// Seconds until the next try; null: there is no use in one.
// code: of the close, 1006 when there was none
// reason: of the close; one that ends with ";retry=SECONDS" is heeded
// failures: tries since the client was last live
// chance: from 0 up to 1
export function retrySeconds(code, reason, failures, chance) {
  if (code === 1000 || (code >= 4000 && code < 4100)) return null;
  const isToldToResume = code === 1012 || (code >= 4200 && code < 4300);
  if (isToldToResume && failures === 0) return chance;
  const grown = chance * Math.min(RETRY_SECONDS_MAX, RETRY_SECONDS_FIRST * 2 ** Math.min(failures, DOUBLINGS_MAX));
  const told = /;\s*retry=(\d{1,4})$/.exec(reason);
  if (told !== null) return heeded(Number(told[1])) + grown;
  const least = (code >= 4100 && code < 4200) || OURS_TO_MEND.includes(code) ? 1 : 0;
  return Math.min(RETRY_SECONDS_MAX, least + grown);
}

// How long is waited when the server names so many seconds; none where it names fewer. Throws TypeError for what is no time.
export function heeded(seconds) {
  if (!Number.isFinite(seconds)) throw new TypeError("no time to wait");
  return Math.max(0, Math.min(seconds, HEEDED_SECONDS_MAX));
}

// Seconds until the connection is to be left and made anew, of `reconnect`. The moments that the server names are spread
// over all that it moves; those that fall together are spread here, as far as it leaves time for it.
// after, deadline: ms from now; chance: from 0 up to 1
export function moveSeconds(after = 0, deadline = after, chance = 0) {
  const spare = Math.max(0, deadline - after) / 1000;
  return Math.max(0, after) / 1000 + chance * Math.min(MOVE_SECONDS_MAX, spare / 2);
}
