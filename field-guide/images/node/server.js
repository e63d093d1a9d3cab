// A server whose /slow takes 2 s. How it stops is its argument: nothing (no handler), drains, closes-idle.
const http = require("http");
const how = process.argv[2];
const server = http.createServer((request, response) => {
  setTimeout(() => response.end("ok\n"), request.url.startsWith("/slow") ? 2000 : 0);
});
server.keepAliveTimeout = 60000;
server.listen(8000, () => console.log("ready"));
if (how) process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  if (how !== "closes-idle") return;
  server.closeIdleConnections();
  setTimeout(() => server.closeAllConnections(), 8000).unref();
});
