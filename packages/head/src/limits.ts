/** Limits and times of the head. Times in milliseconds; each limit has a test that reaches it. */

/** A raylet's beat, as `node.register` tells it. */
export const BEAT_MS = 1_000;
/** Silence after which a node gets nothing new. */
export const SUSPECT_MS = 3_000;
/** Silence after which a node is dead and its work is given away: the raylet's own lease (8 s) plus a margin. */
export const DEAD_MS = 10_000;
/** Silence after which the head looks whether the raylet's process is still there, and how often it looks. */
export const PROBE_AFTER_MS = 1_500;
export const PROBE_EVERY_MS = 500;
/** Looks in a row that must find nobody before a node is declared dead ahead of its lease. */
export const PROBES_GONE = 2;
/** How often the head looks at its deadlines. */
export const TICK_MS = 250;
/** The same where nothing waits for a place and all nodes are well. */
export const CALM_TICK_MS = 1_000;

export const NODES_LIMIT = 1_000;
export const DEAD_NODES_KEPT = 1_000;
export const GROUPS_LIMIT = 10_000;
/** Bundles of all groups together. */
export const BUNDLES_TOTAL_LIMIT = 200_000;
export const REMOVED_GROUPS_KEPT = 1_000;
export const ACTORS_LIMIT = 100_000;
export const DEAD_ACTORS_KEPT = 10_000;
/** Tasks that `tasks.list` knows of (Ray: 100 000). */
export const TASKS_KEPT = 20_000;
export const JOBS_LIMIT = 10_000;
export const KV_KEYS_LIMIT = 50_000;
export const KV_BYTES_LIMIT = 268_435_456;
/** How long who looked a name up may answer the next lookups itself: a kill waits so long at most for one that says nothing. */
export const NAME_LEASE_MS = 250;
/** Such leases at the same time; who looks up beyond them asks each time. */
export const NAME_LEASES_LIMIT = 10_000;
/** Rows of one answer of `actors.list`: the living first, then the latest dead. */
export const LIST_ROWS_LIMIT = 10_000;
/** Calls that may wait for a state at the same time. */
export const WAITERS_LIMIT = 100_000;
/** Longest wait of one call; also the length of a wait that named none. */
export const WAIT_LIMIT_MS = 86_400_000;
/** Bundles of a group that get a reason each. */
export const REASONS_LIMIT = 100;

/** A raylet decides about a prepare from its ledger alone, so this is long. */
export const PREPARE_TIMEOUT_MS = 2_000;
/** One try of commit, release or stop; repeated until the node answers or is dead. */
export const ORDER_TIMEOUT_MS = 10_000;
export const ORDER_RETRY = { firstMs: 100, factor: 2, maxMs: 2_000 };
/** Wait after the second refusal in a row, growing by half to the maximum (Ray: 100 ms × 1.5, at most 1 s). */
export const REFUSED_FIRST_MS = 100;
export const REFUSED_MAX_MS = 1_000;
/** A claim of an actor's start ends here at the latest: by then the raylet's view shows it. */
export const CLAIM_SETTLE_MS = 2_000;
/** An actor whose group the head does not know (yet) waits this long for it. */
export const UNKNOWN_GROUP_MS = 10_000;
/** Starving groups that hold a reservation at the same time; the oldest ones. */
export const RESERVATIONS_LIMIT = 16;
/** Steps of the exhaustive search behind the greedy placement. */
export const SEARCH_STEPS_LIMIT = 4_000;
/** Largest group that the exhaustive search looks at. */
export const SEARCH_BUNDLES_LIMIT = 64;
/** `job.close` answers after this even if a node has not said yet that all is gone. */
export const CLOSE_WAIT_MS = 15_000;
/** While the journal cannot be written, it is tried again this often. */
export const JOURNAL_RETRY_MS = 1_000;
/** What the head could find out again is written with the next other change, or after this. */
export const JOURNAL_LATER_MS = 100;
/** A new group is journalled together with its place if the raylets answer within this, else without. */
export const CREATE_WITH_PLACE_MS = 50;
/** Largest journal file, 4 GiB; beyond it new operations are refused with `STORAGE_FULL`. */
export const JOURNAL_BYTES_LIMIT = 4_294_967_296;
/** The raylet is asked again about a start whose answer was lost after this, or when it registers again. */
export const LOST_START_MS = 5_000;
/** Attempts of groups, and events, that one head makes at most; a restarted head counts on above them. */
export const EPOCHS_PER_TERM = 1_000_000_000;
/** Events that the head remembers, and their bytes as JSON; the oldest go first. */
export const EVENTS_KEPT = 10_000;
export const EVENTS_BYTES_LIMIT = 8_388_608;
/** Streams of events that may be open at the same time. */
export const EVENT_FOLLOWERS_LIMIT = 1_000;
/** A placement group that found no place for so long says why in an event. */
export const WAITING_TOLD_AFTER_MS = 1_000;
