// Follows jobs: the oldest few by server-sent events, the others by asking now and then. A browser opens six connections
// to a host, and each stream holds one.

import { ProblemError, getJob } from "./api.js";

/** @typedef {import("./types.js").Job} Job */
/** @typedef {{ job: Job, told: (job: Job) => void, lost: (problem: import("./types.js").Problem) => void }} Watched */

const STREAMS = 2;
const POLL_MS = 2500;
/** Asked about at a time, in turn: a hundred jobs must not use up what a key may ask in a minute. */
const POLLED = 4;
const FINAL = new Set(["succeeded", "failed", "cancelled", "expired"]);

/** @param {Job} job */
export const isFinal = (job) => FINAL.has(job.state);

/** @type {Map<string, Watched>} in the order in which they were given */
const watched = new Map();
/** @type {Map<string, EventSource>} */
const streams = new Map();
let polling = 0;
let askedLast = "";

/**
 * Tells of every change until the job is over, over lost connections too. `lost`: the service does not know it (any more).
 *
 * @param {Job} job
 * @param {(job: Job) => void} told
 * @param {(problem: import("./types.js").Problem) => void} lost
 */
export function watch(job, told, lost) {
  watched.set(job.id, { job, told, lost });
  fill();
}

/** @param {string} id */
export function unwatch(id) {
  watched.delete(id);
  streams.get(id)?.close();
  streams.delete(id);
  fill();
}

/** @param {number} [pause] milliseconds until the others are asked about */
function fill(pause = POLL_MS) {
  for (const [id, { job }] of watched) {
    if (streams.size >= STREAMS) break;
    if (!streams.has(id)) open(id, job);
  }
  if (watched.size > streams.size && !polling) polling = window.setTimeout(poll, pause);
}

/**
 * @param {string} id
 * @param {Job} job
 */
function open(id, job) {
  const stream = new EventSource(job.links.events);
  streams.set(id, stream);
  for (const name of ["snapshot", "change", "end"]) {
    stream.addEventListener(name, (event) => tell(id, JSON.parse(/** @type {MessageEvent} */ (event).data)));
  }
  stream.onerror = () => {
    // The browser connects again by itself after a cut, but not after a refusal: then it is asked for by polling.
    if (stream.readyState !== EventSource.CLOSED || streams.get(id) !== stream) return;
    streams.delete(id);
    if (!polling) polling = window.setTimeout(poll, POLL_MS);
  };
}

/**
 * @param {string} id
 * @param {Job} job
 */
function tell(id, job) {
  const one = watched.get(id);
  if (!one) return;
  one.job = job;
  if (isFinal(job)) unwatch(id);
  one.told(job);
}

async function poll() {
  let pause = POLL_MS;
  const waiting = [...watched].filter(([id]) => !streams.has(id));
  const first = waiting.findIndex(([id]) => id === askedLast) + 1;
  for (const [id, one] of [...waiting.slice(first), ...waiting.slice(0, first)].slice(0, POLLED)) {
    if (streams.has(id) || watched.get(id) !== one) continue;
    askedLast = id;
    try {
      tell(id, await getJob(id));
    } catch (failure) {
      if (!(failure instanceof ProblemError)) throw failure;
      const { status, retry_after: seconds } = failure.problem;
      if (seconds) pause = Math.max(pause, seconds * 1000);
      if (status === 404 || status === 410) {
        unwatch(id);
        one.lost(failure.problem);
      }
      // Everything else passes: the service is down, busy, or not to be reached for a moment.
    }
  }
  polling = 0;
  fill(pause);
}
