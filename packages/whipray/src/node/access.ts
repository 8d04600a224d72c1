import { AuthenticationError } from "@whipray/core";
import { type Hello, type Role, roleToken, tokenDigest, tokenMatches } from "@whipray/rpc";

/** The tokens of a cluster by role (design.md, mechanism 15). Who holds one learns neither the secret nor another one above it. */
export interface ClusterTokens {
  driver: string;
  raylet: string;
  worker: string;
}

/** All of them, from the cluster's secret: only the head has it. */
export function clusterTokens(secret: string): ClusterTokens {
  const raylet = roleToken(secret, "raylet");
  return { driver: roleToken(secret, "driver"), raylet, worker: workerToken(raylet) };
}

/** A raylet makes the token of its workers from its own. */
export function workerToken(rayletToken: string): string {
  return roleToken(rayletToken, "worker");
}

/** SHA-256 of the token of each role that may come in. */
export type Accepted = Partial<Record<Role, string>>;

/** Digests of what a head accepts. */
export function acceptedByHead(tokens: ClusterTokens): Accepted {
  return { driver: tokenDigest(tokens.driver), raylet: tokenDigest(tokens.raylet), worker: tokenDigest(tokens.worker) };
}

/** Digests of what a raylet accepts; the driver's comes with its registration. */
export function acceptedByRaylet(rayletToken: string): Accepted {
  return { raylet: tokenDigest(rayletToken), worker: tokenDigest(workerToken(rayletToken)) };
}

/** Refuses a HELLO whose token is not the one of its role. */
export function admitOnly(accepted: Accepted): (hello: Hello) => void {
  return (hello) => {
    const digest = accepted[hello.role];
    if (!digest || !tokenMatches(hello.token, digest)) {
      throw new AuthenticationError({ message: `The token is not the one of a ${hello.role} of this cluster` });
    }
  };
}

/** The role of a bearer token, for upgrades. Looks at every role whatever matches, to take the same time. */
export function roleOf(accepted: Accepted): (token: string) => Role | undefined {
  return (token) => {
    let found: Role | undefined;
    for (const [role, digest] of Object.entries(accepted)) if (tokenMatches(token, digest)) found = role as Role;
    return found;
  };
}
