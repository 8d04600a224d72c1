// Entry of every npm script of the root: installs what is missing, then runs the command's TypeScript file on the
// project's own Node. Plain JavaScript without dependencies: a bare machine has Node 20, npm and python3, nothing else.
// The imports wait until the version is known, so that an old Node gets a sentence and not a syntax error.
const OLDEST_NODE = 20;

const major = Number(process.versions.node.split(".")[0]);
if (major < OLDEST_NODE) {
  console.error(
    `whipray: this is Node ${process.versions.node}; Node ${OLDEST_NODE} or newer is needed (https://nodejs.org).`,
  );
  process.exit(1);
}
const { main } = await import("./bootstrap/main.mjs");
await main(process.argv.slice(2));
