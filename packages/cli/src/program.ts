import { fakeMachineNames } from "@whipray/devices";
import { EVENT_SEVERITIES, EVENT_TYPES } from "@whipray/rpc";
import { Argument, Command, Option } from "commander";
import { daemons } from "whipray";
import { unknownCommand } from "./command-name.ts";
import { type AttachFlags, attachCommand } from "./commands/attach-command.ts";
import type { AskFlags, CommandContext } from "./commands/command-context.ts";
import { type DoctorFlags, doctorCommand } from "./commands/doctor-command.io.ts";
import { type EventsFlags, eventsCommand } from "./commands/events-command.ts";
import { LISTED, LISTED_EVENTS, type Listed, listCommand } from "./commands/list-command.ts";
import { type LogsFlags, logsCommand } from "./commands/logs-command.ts";
import { startCommand } from "./commands/start-command.io.ts";
import type { StartFlags } from "./commands/start-flags.ts";
import { statusCommand } from "./commands/status-command.ts";
import { type StopFlags, stopCommand } from "./commands/stop-command.io.ts";
import {
  amountOf,
  bytesOf,
  environmentName,
  eventsOf,
  hostOf,
  labelsOf,
  linesOf,
  nameOf,
  portOf,
  resourcesOf,
  secondsOf,
  seqOf,
} from "./flag-values.ts";

/** A flag, with its environment form; the flag wins. */
function flag<T>(flags: string, text: string, parse?: (flag: string) => (value: string) => T): Option {
  const name = /--[a-z-]+/.exec(flags)![0];
  const option = new Option(flags, text).env(environmentName(name));
  return parse ? option.argParser(parse(name)) : option;
}

const json = (): Option => flag("--json", "one JSON object on stdout");

function asking(command: Command): Command {
  return reaching(command).addOption(json());
}

function reaching(command: Command): Command {
  return command
    .addOption(flag("--address <host:port>", "the head; default: the one started here"))
    .addOption(flag("--token-file <path>", "the driver's token").env("WHIPRAY_TOKEN_PATH"))
    .addOption(flag("--timeout-seconds <n>", "how long the head may take", secondsOf).default(10));
}

/** `--head` that was typed beats what joins and only the environment says: who exported WHIPRAY_ADDRESS means it for the other commands. */
function typedFlags(flags: StartFlags, command: Command): StartFlags {
  if (command.getOptionValueSource("head") !== "cli") return flags;
  const others = (["address", "join", "joinTokenFile"] as const).filter(
    (name) => command.getOptionValueSource(name) === "env",
  );
  return { ...flags, ...Object.fromEntries(others.map((name) => [name, undefined])) };
}

/** All commands of `whipray`. */
export function makeProgram(context: CommandContext): Command {
  const program = new Command("whipray")
    .description("Ray's actors and placement groups in TypeScript: a cluster of one or many machines.")
    .version(daemons.ownVersion())
    .addHelpText("beforeAll", "Example:\n  whipray start --head && whipray status && whipray stop\n")
    .exitOverride();
  program
    .command("start")
    .description("start a cluster here, or join one with this machine")
    .addOption(flag("--head", "start a new cluster: a head, and a raylet for this machine"))
    .addOption(flag("--address <host:port>", "join the cluster of this head"))
    .addOption(flag("--join <token>", "join token; as WHIPRAY_JOIN or --join-token-file nobody sees it in ps"))
    .addOption(flag("--join-token-file <path>", "file with the join token; - reads standard input"))
    .addOption(flag("--host <host>", "address to listen on", hostOf).default("127.0.0.1"))
    .addOption(
      flag("--port <n>", "port of the head; 0 takes that of the last start, or a free one", (name) =>
        portOf(name, 0),
      ).default(8_265),
    )
    .addOption(
      flag("--raylet-port <n>", "port of the raylet; 0 takes a free one", (name) => portOf(name, 0)).default(0),
    )
    .addOption(flag("--node-ip <ip>", "address at which other machines reach this one", hostOf))
    .addOption(flag("--node-name <name>", "default: the host's name", nameOf))
    .addOption(flag("--num-cpus <n>", "default: what the machine has", amountOf))
    .addOption(flag("--num-gpus <n>", "default: what the machine has", amountOf))
    .addOption(flag("--num-npus <n>", "default: what the machine has", amountOf))
    .addOption(flag("--memory <bytes>", "8GiB, 500MB, 1.5G; default: what the machine has", bytesOf))
    .addOption(flag("--resources <json>", 'custom resources, {"license":1}', resourcesOf))
    .addOption(flag("--fake-devices <name>", "accelerators for trying out").choices(fakeMachineNames))
    .addOption(flag("--labels <k=v,…>", "labels of the node", labelsOf))
    .addOption(flag("--directory <path>", "the head's journal and identity"))
    .addOption(flag("--tls", "speak TLS, with --head; a machine that joins takes it from the join token"))
    .addOption(flag("--insecure-plaintext", "allow a --host beyond loopback without TLS"))
    .addOption(flag("--second-raylet", "join although this machine has a raylet of the cluster; for trying out"))
    .addOption(flag("--block", "stay in the foreground; for service managers"))
    .addOption(flag("--wait-seconds <n>", "how long starting may take", secondsOf).default(30))
    .addOption(json())
    .action((flags: StartFlags, command: Command) => startCommand(typedFlags(flags, command), context));
  program
    .command("stop")
    .description("end what was started here, and all that runs in it")
    .addOption(flag("--force", "SIGKILL at once"))
    .addOption(flag("--grace-seconds <n>", "time to leave before SIGKILL", secondsOf).default(16))
    .addOption(json())
    .action((flags: StopFlags) => stopCommand(flags, context));
  asking(program.command("status"))
    .description("nodes, resources, placement groups with reasons, actors")
    .action((flags: AskFlags) => statusCommand(flags, context));
  asking(program.command("doctor"))
    .description("what this machine has, how it was found, and what is wrong")
    .addOption(flag("--fake-devices <name>", "look at a fake machine instead").choices(fakeMachineNames))
    .action((flags: DoctorFlags) => doctorCommand(flags, context));
  asking(program.command("logs"))
    .description("last lines of a rank, an actor, a worker or an engine, ended ones too")
    .argument("<rank|actor|process>", "actor/0 of a scheduler, id or name of an actor, id of a worker or an engine")
    .addOption(flag("--lines <n>", "how many", linesOf).default(100))
    .addOption(
      flag("-f, --follow", "and what is added from now on, until its end or Ctrl-C; with --json one object a line"),
    )
    .action((subject: string, flags: LogsFlags) => logsCommand(subject, flags, context));
  asking(program.command("events"))
    .description("what happened in the cluster: nodes, placement groups, actors, jobs, devices")
    .addOption(flag("-f, --follow", "and what happens from now on, until Ctrl-C; with --json one object a line"))
    .addOption(flag("--limit <n>", "how many of the latest", eventsOf).default(LISTED_EVENTS))
    .addOption(flag("--type <type...>", "only these types").choices(EVENT_TYPES))
    .addOption(flag("--severity <severity>", "only this and above").choices(EVENT_SEVERITIES))
    .addOption(flag("--id <id>", "only about this node, group, actor, job or device"))
    .addOption(flag("--since <seq>", "only after this one", seqOf))
    .action((flags: EventsFlags) => eventsCommand(flags, context));
  reaching(program.command("attach"))
    .description("the terminal of a running rank; its log where it has none. ctrl-] detaches")
    .argument("<rank|actor|process>", "actor/0 of a scheduler, id or name of an actor, id of an engine")
    .addOption(flag("--watch", "do not type"))
    .addOption(flag("--steal", "take the keyboard from whoever has it"))
    .action((subject: string, flags: AttachFlags) => attachCommand(subject, flags, context));
  asking(program.command("list"))
    .description("all rows of one kind, ended ones too")
    .addArgument(new Argument("<what>", "what to list").choices(LISTED))
    .action((what: Listed, flags: AskFlags) => listCommand(what, flags, context));
  for (const command of program.commands) command.exitOverride();
  program.on("command:*", ([word = ""]: string[]) => {
    const names = program.commands.map((command) => command.name());
    throw unknownCommand(word, names);
  });
  return program;
}
