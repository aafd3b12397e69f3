// What can go wrong for who uses the client.
//
//   ClientRefused   the server will not have us: ends the client
//   Refused         the server answers a command with an error
//   ServerAway      there is no connection, or it was lost before the answer
//   OutboxFull      too much was said while nobody answered

const WORTH_ANOTHER_TRY = [4291, 4292, 5002, 5003];

export class ClientRefused extends Error {
  constructor(code, message) {
    super(message);
    this.name = "ClientRefused";
    this.code = code;
  }
}

export class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.name = "Refused";
    this.code = code;
  }
}

// The same command may go well in a moment.
export function isWorthAnotherTry(refused) {
  return WORTH_ANOTHER_TRY.includes(refused.code);
}

export class ServerAway extends Error {
  constructor(message) {
    super(message);
    this.name = "ServerAway";
  }
}

export class OutboxFull extends Error {
  constructor(message) {
    super(message);
    this.name = "OutboxFull";
  }
}
