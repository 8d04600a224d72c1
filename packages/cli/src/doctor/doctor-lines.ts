import { deviceLines } from "../device-status.ts";
import { table } from "../table.ts";
import type { DoctorReport, TopologyReport } from "./doctor-report.ts";

/** The report for people. */
export function doctorLines(report: DoctorReport, bold: (text: string) => string): string[] {
  const { host, detection, topology, limits, daemons, listeners, problems, verdict } = report;
  const gib = (host.memoryBytes / 2 ** 30).toFixed(1);
  const lines = [
    `${bold("Machine")} ${host.name}: ${host.cpus} CPUs, ${gib} GiB free, cgroup ${host.cgroup}, ${host.kernel}, node ${host.node}, python ${host.python ?? "missing"}`,
    "",
    `${bold(`Detection (${detection.elapsedMs} ms)`)}${detection.fake === undefined ? "" : ` of the imagined machine ${detection.fake}, not of this one`}`,
  ];
  const asked = detection.vendors.filter(({ state, error }) => state !== "none" || error !== undefined);
  const quiet = detection.vendors.filter((vendor) => !asked.includes(vendor)).map(({ vendor }) => vendor);
  if (asked.length > 0) {
    const rows = asked.map(({ vendor, state, devices, resource, tool, version, elapsedMs, error }) => {
      const found = state === "ok" ? `${devices} ${resource}` : state;
      return [vendor, found, tool, version ?? "-", `${elapsedMs.toFixed(0)} ms`, error?.message ?? ""];
    });
    lines.push(...table(["VENDOR", "FOUND", "TOOL", "DRIVER", "TOOK", "WHY"], rows));
  }
  if (quiet.length > 0) lines.push(`none of: ${quiet.join(", ")}`);
  for (const warning of detection.warnings) lines.push(`  ${warning}`);
  const devices = deviceLines([{ name: host.name, devices: detection.devices }]);
  if (devices.length > 0) lines.push("", ...devices);
  lines.push(...topologyLines(topology, "Topology", bold), "");
  lines.push(
    bold("Limits"),
    ...table(
      ["LIMIT", "VALUE", ""],
      limits.map(({ name, value, short }) => [name, value, short ?? ""]),
    ),
    "",
  );
  lines.push(bold("Listeners"));
  const rows = listeners.map(({ address, port, pid, process, daemon }) => {
    const who =
      process === undefined ? "of another user" : `${process}${daemon === undefined ? "" : ` (our ${daemon})`}`;
    return [`${address}:${port}`, pid === undefined ? "-" : String(pid), who];
  });
  lines.push(...(rows.length === 0 ? ["none"] : table(["ADDRESS", "PID", "OWNER"], rows)), "");
  lines.push(bold("Cluster"), ...clusterLines(report, bold));
  const ours = daemons.map(({ kind, pid, runs, state, url, fakeDevices }) => {
    return [kind, String(pid), runs ? state : "gone", url ?? "-", fakeDevices ?? "-"];
  });
  if (ours.length > 0)
    lines.push("", bold("Daemons of this user"), ...table(["KIND", "PID", "STATE", "PORT", "FAKE"], ours));
  if (problems.length > 0) lines.push("", bold("Problems"), ...problems.map((problem) => `- ${problem}`));
  lines.push("", `${bold("Verdict:")} ${verdict}`);
  return lines;

  function clusterLines(
    { cluster: { state, address, error, nodes } }: DoctorReport,
    strong: (text: string) => string,
  ): string[] {
    if (state === "none") return ["no cluster is known here"];
    if (state === "unreachable") return [`${address} cannot be reached: ${error}`];
    const living = nodes.filter((node) => node.state !== "DEAD");
    const gone = nodes.length - living.length;
    const names = living.map((node) => `${node.name} ${node.state}`).join(", ") || "no node";
    const head = `${address} is up: ${names}${gone === 0 ? "" : `; ${gone} gone`}`;
    const here = JSON.stringify(topology);
    const others = living.filter((node) => JSON.stringify(node.topology) !== here);
    const topologies = others.flatMap((node) => topologyLines(node.topology, `Topology of ${node.name}`, strong));
    return [head, ...deviceLines(living), ...topologies];
  }
}

function topologyLines(topology: TopologyReport | undefined, title: string, bold: (text: string) => string): string[] {
  if (!topology || topology.names.length < 2) return [];
  const { names, links, numaNodes, cpuAffinity } = topology;
  const rows = names.map((name, at) => [
    name,
    ...links[at]!,
    numaNodes[at] === undefined ? "-" : String(numaNodes[at]),
    cpuAffinity[at] ?? "-",
  ]);
  return ["", bold(title), ...table(["", ...names, "NUMA", "CPUS"], rows)];
}
