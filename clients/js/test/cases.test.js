// The pure parts agree with tests/client/cases.json, as those of the Python client must.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { heeded, moveSeconds, retrySeconds } from "../src/backoff.js";
import { addressOf } from "../src/door.js";
import { Pace } from "../src/pace.js";
import { Presence } from "../src/presence.js";
import { RoomLog } from "../src/room_log.js";
import { UserLog } from "../src/user_log.js";
import { WatchList } from "../src/watch_list.js";

const CASES = JSON.parse(readFileSync(new URL("../../../tests/client/cases.json", import.meta.url), "utf8"));

test("the range of a close code says how long to wait", () => {
  for (const { code, reason, failures, chance, seconds } of CASES.backoff) {
    assert.equal(retrySeconds(code, reason, failures, chance), seconds, `${code} ${reason} ${failures}`);
  }
});

test("an address is one of http or of its socket", () => {
  for (const { given, taken } of CASES.address) {
    if (taken === null) assert.throws(() => addressOf(given), /no address of a server/, given);
    else assert.equal(addressOf(given), `${taken.replace("http", "ws")}/ws`);
  }
});

for (const { title, recent, steps } of CASES.roomLog) {
  test(`room log: ${title}`, () => {
    const log = new RoomLog(recent);
    for (const step of steps) {
      assert.deepEqual(done(log, step), step.told, JSON.stringify(step));
      const found = { seq: log.seq, isMissing: log.isMissing, epoch: log.epoch, top: log.top };
      if (step.page === undefined) found.goal = log.goal; // of a page it is what was asked for
      for (const name of Object.keys(found)) {
        if (step[name] !== undefined) assert.equal(found[name], step[name], `${name} after ${JSON.stringify(step)}`);
      }
    }
  });
}

function done(log, step) {
  if (step.entered) log.entered(...step.entered);
  else if (step.skipped) log.skipped(step.skipped);
  else if (step.replaced) log.replaced(step.replaced);
  else if (step.skip) return log.take(step.skip, null);
  else if (step.page) return log.takePage(step.page.map((seq) => ({ seq, said: seq })), step.goal);
  else return log.take(step.take, step.take);
  return [];
}

for (const { title, steps } of CASES.presence) {
  test(`presence: ${title}`, () => {
    const presence = new Presence();
    for (const step of steps) {
      const { here, gone } = changed(presence, step);
      const at = JSON.stringify(step);
      assert.deepEqual(here.map((person) => person.userId), step.here ?? [], at);
      assert.deepEqual(gone.map((person) => person.userId), step.gone ?? [], at);
      assert.ok(gone.every((person) => person.status === "offline"), at);
      if (step.isKnown !== undefined) assert.equal(presence.isKnown, step.isKnown, at);
      if (step.all !== undefined) assert.deepEqual([...presence.people.keys()].sort(), step.all, at);
      if (step.names !== undefined) assert.deepEqual(step.all.map((id) => presence.people.get(id).name), step.names);
    }
  });
}

function changed(presence, step) {
  const { top = 0 } = step;
  if (step.state) return presence.state(step.state, top);
  if (step.diff) return presence.diff(...step.diff, top);
  if (step.left) return presence.left(step.left, step.seq);
  if (step.forget) presence.forget();
  if (step.live) presence.live();
  return { here: [], gone: [] };
}

for (const { title, steps } of CASES.watchList) {
  test(`watch list: ${title}`, () => {
    const watched = new WatchList();
    for (const step of steps) {
      const at = JSON.stringify(step);
      assert.equal(step.state ? watched.state(step.state) : watched.diff(...step.diff), step.isNews, at);
      const people = [...watched.people.values()].map(({ userId, name, status, lastSeenMs }) => [userId, name, status, lastSeenMs]);
      if (step.people !== undefined) assert.deepEqual(people, step.people, at);
    }
  });
}

test("the moment that the server names is kept, and spread as far as it leaves time for it", () => {
  for (const { after, deadline, chance, seconds } of CASES.move) {
    assert.equal(moveSeconds(after, deadline ?? undefined, chance), seconds, `${after} ${deadline} ${chance}`);
  }
});

test("a wait that the server names is heeded within bounds, and what is no time is not", () => {
  for (const { given, seconds } of CASES.heeded) assert.equal(heeded(given), seconds, `${given}`);
  for (const given of [Infinity, -Infinity, NaN, "5", null]) assert.throws(() => heeded(given), TypeError);
});

for (const { title, steps } of CASES.pace) {
  test(`pace: ${title}`, () => {
    const pace = new Pace();
    for (const step of steps) {
      if (step.slow) pace.slowDown(step.slow, step.for, step.at);
      else assert.equal(pace.waitSeconds(step.wait, step.at), step.seconds, JSON.stringify(step));
    }
  });
}

for (const { title, steps } of CASES.userLog) {
  test(`user log: ${title}`, () => {
    const log = new UserLog();
    for (const step of steps) {
      const told = toldBy(log, step).map((event) => (event.type === "missed" ? ["missed", event.firstUseq, event.lastUseq] : event));
      const at = JSON.stringify(step);
      assert.deepEqual(told, step.told, at);
      if (step.useq !== undefined) assert.equal(log.useq, step.useq, at);
      if (step.isMissing !== undefined) assert.equal(log.isMissing, step.isMissing, at);
      if (step.cursor !== undefined) assert.deepEqual(log.cursor ?? null, step.cursor, at);
    }
  });
}

function toldBy(log, step) {
  if (step.take) return log.take(step.take, step.take);
  if (step.gap) return log.passOver(...step.gap);
  log.entered(...step.entered);
  return [];
}
