// Node's own HTTP server, saying on standard output what it believes to have been asked.
const http = require("http");

const server = http.createServer((request, response) => {
  const pieces = [];
  let told = false;
  const tell = (whole) => {
    if (told) return;
    told = true;
    const seen = {
      id: request.headers["x-request-id"] || "",
      method: request.method,
      target: request.url,
      body: whole ? Buffer.concat(pieces).toString("latin1") : "",
      whole,
    };
    process.stdout.write(JSON.stringify(seen) + "\n");
  };
  request.on("data", (piece) => pieces.push(piece));
  request.on("aborted", () => tell(false));
  request.on("error", () => tell(false));
  request.on("end", () => {
    tell(true);
    response.end(`${request.method} ${request.url}`);
  });
});
server.keepAliveTimeout = 60000;
server.listen(0, "127.0.0.1", () => {
  process.stdout.write(JSON.stringify({ port: server.address().port }) + "\n");
});
