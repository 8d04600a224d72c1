import type { WhiprayError } from "@whipray/core";
import { rewriteRoute } from "../frame.ts";
import type { Link, RouteEnd } from "./link.ts";

/**
 * Joins a route of one link to a route of another: what comes in on one goes out on the other with four bytes rewritten,
 * nothing else of it is looked at. Credit is between the ends, so a forwarder holds at most a window per route and direction.
 */
export function forward(from: Link, fromRoute: number, to: Link, header: Uint8Array): void {
  let toRoute = 0;
  const half = (out: () => { link: Link; route: number }): RouteEnd => ({
    onFrame(raw) {
      const { link, route } = out();
      rewriteRoute(raw, route);
      link.write(route, [raw]);
    },
    onClose(error: WhiprayError | undefined) {
      const { link, route } = out();
      link.closeRoute(route, error);
    },
  });
  from.adopt(
    fromRoute,
    half(() => ({ link: to, route: toRoute })),
  );
  toRoute = to.open(
    half(() => ({ link: from, route: fromRoute })),
    header,
  );
}
