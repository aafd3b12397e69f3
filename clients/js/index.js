// A client of greenroom.v1. Its contract stands in docs/clients.md, its types in index.d.ts.
export { Client } from "./src/client.js";
export { ClientRefused, OutboxFull, Refused, ServerAway } from "./src/errors.js";
