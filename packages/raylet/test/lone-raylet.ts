/** Main file of a process of a test: a raylet with an actor that runs an engine, which waits to be killed. Arguments: its folder, and options as JSON. */
import { realRaylet } from "./real-raylet.ts";

const { start, nodeId } = await realRaylet(process.argv[2]!, JSON.parse(process.argv[3] ?? "{}"));
const { answer } = await start("Engine");
console.log(answer.ok ? `running on ${nodeId}` : JSON.stringify(answer));
