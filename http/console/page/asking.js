// Commands that have an answer, until it comes or the line breaks.

const PATIENCE_MS = 4000;

// isLost: the line broke, and whether it took effect is unknown.
export class CommandFailed extends Error {
  constructor(data) {
    super(data.message || "it did not work");
    Object.assign(this, { isLost: false, code: 0, recoverable: false, retryAfter: 0 }, data);
  }
}

export class Asking {
  constructor(connection) {
    this._connection = connection;
    this._commands = new Map();
    this._serial = 0;
  }

  // Rejects with CommandFailed.
  ask(command) {
    const id = `c${++this._serial}`;
    return new Promise((resolve, reject) => {
      if (!this._connection.send({ ...command, id })) {
        reject(new CommandFailed({ isLost: true }));
        return;
      }
      const timer = setTimeout(() => this._connection.probe(), PATIENCE_MS);
      this._commands.set(id, { resolve, reject, timer });
    });
  }

  // Whether the frame is an answer.
  heard({ id, type, data }) {
    if (id === undefined || (type !== "ack" && type !== "error" && type !== "ready")) return false;
    const command = this._commands.get(id);
    this._commands.delete(id);
    clearTimeout(command?.timer);
    if (type === "error") command?.reject(new CommandFailed(data));
    else command?.resolve(data);
    return true;
  }

  lose(message = "the client has ended") {
    const commands = [...this._commands.values()];
    this._commands.clear();
    for (const { timer, reject } of commands) {
      clearTimeout(timer);
      reject(new CommandFailed({ isLost: true, message }));
    }
  }
}
