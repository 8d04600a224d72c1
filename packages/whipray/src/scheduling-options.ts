import { type LabelSelector, WhiprayError } from "@whipray/core";
import { checkSelector } from "./label-selector.ts";

/** On which node something is to run, beside what it needs (Ray: `scheduling_strategy`, `label_selector`, `fallback_strategy`). */
export interface SchedulingOptions {
  /** `SPREAD`: over the nodes in turn. Default hybrid: near the caller until the node is half used, then the least used one. */
  strategy?: "DEFAULT" | "SPREAD";
  /** Only this node; `soft`: another one when it is dead or can never hold it. */
  nodeAffinity?: { nodeId: string; soft?: boolean };
  /** Only nodes with these labels: `value`, `!value`, `in(a,b)` or `!in(a,b)`. */
  labels?: LabelSelector;
  /** Tried in their order where no node that meets `labels` has room. */
  fallback?: readonly { labels: LabelSelector }[];
}

export const SCHEDULING_KEYS = ["strategy", "nodeAffinity", "labels", "fallback"] as const;

/** As they cross the wire; absent where nothing was said. */
export interface SchedulingFields {
  spread?: boolean;
  nodeId?: string;
  nodeSoft?: boolean;
  labels?: Record<string, string>;
  fallback?: Record<string, string>[];
}

/** @throws WhiprayError `INVALID_ARGUMENT`. */
export function schedulingFields(options: SchedulingOptions): SchedulingFields {
  const { strategy = "DEFAULT", nodeAffinity, labels, fallback } = options;
  if (strategy !== "DEFAULT" && strategy !== "SPREAD")
    throw invalid(`strategy must be DEFAULT or SPREAD; got ${String(strategy).slice(0, 64)}`);
  if (strategy === "SPREAD" && nodeAffinity) throw invalid("strategy SPREAD and nodeAffinity exclude each other");
  if (fallback && !Array.isArray(fallback)) throw invalid("fallback must be a list of { labels }");
  return {
    ...(strategy === "SPREAD" && { spread: true }),
    ...(nodeAffinity && { nodeId: nodeAffinity.nodeId, nodeSoft: nodeAffinity.soft ?? false }),
    ...(labels && { labels: checkSelector("labels", labels) }),
    ...(fallback && { fallback: fallback.map((one, at) => checkSelector(`fallback[${at}].labels`, one.labels)) }),
  };
}

function invalid(message: string): WhiprayError {
  return new WhiprayError({ code: "INVALID_ARGUMENT", message });
}
