import { isIP } from "node:net";

/** Longest path and query of a request (reliability B13). */
export const MAX_URL_BYTES = 8_192;
/** Longest headers of a request, all together (reliability B13). */
export const MAX_HTTP_HEADER_BYTES = 16_384;

/** What a browser may reach; see `refusal`. */
export interface HttpRules {
  /** Host names (without port) by which this server may be asked, beside IP addresses and `localhost`. */
  allowedHosts: readonly string[];
  /** Origins, for example `https://ray.example:8265`, whose pages may ask. */
  allowedOrigins: readonly string[];
}

export interface Refusal {
  status: number;
  code: string;
  message: string;
}

interface RequestHead {
  url?: string | undefined;
  headers: Record<string, string | string[] | undefined>;
}

/**
 * Why a request must not be served, whatever its method and path (CVE-2025-62593, CVE-2026-27482; reliability B13, B32).
 * Allow lists only. An IP address in Host is fine: DNS rebinding needs a name, and cross-site pages are caught by Origin
 * and Sec-Fetch-Site.
 */
export function refusal(request: RequestHead, rules: HttpRules): Refusal | undefined {
  const url = request.url ?? "";
  if (url.length > MAX_URL_BYTES) {
    return { status: 414, code: "URL_TOO_LONG", message: `The URL has more than ${MAX_URL_BYTES} bytes` };
  }
  const host = request.headers["host"];
  if (typeof host !== "string" || !hostAllowed(host, rules.allowedHosts)) {
    return {
      status: 403,
      code: "HOST",
      message: `Host ${String(host).slice(0, 80)} is not allowed; add it to allowedHosts`,
    };
  }
  const origin = request.headers["origin"];
  if (origin !== undefined && !(typeof origin === "string" && rules.allowedOrigins.includes(origin))) {
    return {
      status: 403,
      code: "ORIGIN",
      message: `Origin ${String(origin).slice(0, 80)} is not allowed; add it to allowedOrigins`,
    };
  }
  const site = request.headers["sec-fetch-site"];
  // A page on another port of this host is "same-site": not ours either.
  if (origin === undefined && site !== undefined && site !== "same-origin" && site !== "none") {
    return { status: 403, code: "ORIGIN", message: "Requests from pages of other sites are not allowed" };
  }
  return undefined;
}

function hostAllowed(host: string, allowed: readonly string[]): boolean {
  const match = /^(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:\d{1,5})?$/.exec(host);
  if (match === null) return false;
  const name = match[1]!.toLowerCase();
  return isIP(name.replace(/^\[|\]$/g, "")) !== 0 || name === "localhost" || allowed.includes(name);
}

/** The token of an `Authorization: Bearer …` header, "" when there is none. */
export function bearerToken(header: string | undefined): string {
  return /^Bearer ([\x21-\x7e]{1,1024})$/i.exec(header ?? "")?.[1] ?? "";
}

/** The body of a refused request: the error as JSON. */
export function refusalBody({ code, message }: Refusal): string {
  return JSON.stringify({ error: { code, message } });
}
