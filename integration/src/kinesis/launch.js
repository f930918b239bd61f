// Loaded before the emulator: it ends with whoever holds the other end of its standard input, and listens
// on the loopback interface alone. The system ends that pipe when a test process dies, however it dies.
"use strict";

const net = require("node:net");

process.stdin.on("end", () => process.exit(0)).on("error", () => process.exit(0)).resume();

const plain = Number(process.env.KINESIS_MOCK_PLAIN_PORT);
const listen = net.Server.prototype.listen;

net.Server.prototype.listen = function (...args) {
  const given = typeof args[0] === "object" && args[0] !== null ? args[0].port : args[0];
  // Nobody asks the one for TLS: it may have any port.
  const port = Number(given) === plain ? plain : 0;
  const callback = args.filter((arg) => typeof arg === "function");
  return listen.call(this, { port, host: "127.0.0.1" }, ...callback);
};
