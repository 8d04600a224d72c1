/** Main file of a process of a test: a raylet with an actor that runs an engine, which waits to be killed. Arguments: its folder, and options as JSON. */
import { realRaylet } from "./real-raylet.ts";

const { start, nodeId, raylet, ended } = await realRaylet(process.argv[2]!, JSON.parse(process.argv[3] ?? "{}"));
const { answer } = await start("Engine");
console.log(answer.ok ? `running on ${nodeId}` : JSON.stringify(answer));
const said = new Set<string>();
/** What the test waits for, once. */
function say(line: string): void {
  if (!said.has(line)) console.log(line);
  said.add(line);
}
setInterval(() => {
  for (const { actorId } of ended) say(`ended ${actorId}`);
  const { withheld } = raylet.describe().view;
  if (withheld) say(`withheld ${JSON.stringify(withheld)}`);
}, 200);
