# One Durable Object per room, twice: `memory` keeps nothing, `sqlite` writes every message to SQLite on disk.
# bench/run.py overrides the address with --socket-addr http=… and the folder with --directory-path disk=….
using Workerd = import "/workerd/workerd.capnp";

const memory :Workerd.Config = (
  services = [(name = "main", worker = .memoryWorker)],
  sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "main")],
);

const sqlite :Workerd.Config = (
  services = [
    (name = "main", worker = .sqliteWorker),
    (name = "disk", disk = (path = ".", writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "main")],
);

const memoryWorker :Workerd.Worker = (
  modules = [(name = "room.mjs", esModule = embed "room.mjs")],
  compatibilityDate = "2025-11-01",
  durableObjectNamespaces = [(className = "MemoryRoom", uniqueKey = "bench-memory-room")],
  durableObjectStorage = (inMemory = void),
  bindings = [(name = "ROOMS", durableObjectNamespace = "MemoryRoom")],
);

const sqliteWorker :Workerd.Worker = (
  modules = [(name = "room.mjs", esModule = embed "room.mjs")],
  compatibilityDate = "2025-11-01",
  durableObjectNamespaces = [(className = "SqliteRoom", uniqueKey = "bench-sqlite-room", enableSql = true)],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [(name = "ROOMS", durableObjectNamespace = "SqliteRoom")],
);
