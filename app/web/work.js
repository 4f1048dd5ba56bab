// The pictures of the user and what becomes of them: wait, are sent, are jobs, are done. Draws nothing.

import { ProblemError, call, deleteJob, send } from "./api.js";
import { UndecodableError, sizeOf, thumbnail } from "./pictures.js";
import { forget, keep, kept, loadCards, saveCards, sweep } from "./store.js";
import { unwatch, watch } from "./watch.js";

/** @typedef {import("./types.js").Card} Card */
/** @typedef {import("./types.js").Choice} Choice */

const SENDING = 2; // at once
const THUMBNAIL = 168; // pixels of the shorter side
const THUMBNAIL_PIXELS = 60e6; // larger pictures are not decoded here: 4 bytes for each of these
const BUSY = "idempotency_in_progress"; // another send of the same card is under way
const BUSY_MS = 1500;
/** Refusals that pass by themselves: the picture waits as long as the service says, and goes again. */
const PASSING = new Set(["rate_limited", "quota_exceeded", "overloaded", "draining", "not_ready"]);
const PATIENCE = 70; // seconds: a minute's limit is over by then
const TICK_MS = 1000;
const ENDED = new Set(["succeeded", "failed", "cancelled", "expired"]);

/**
 * Whether waiting is all that is needed. A share of the storage that is used up (a minute or more, as the service has it)
 * is not: the user must remove something.
 *
 * @param {import("./types.js").Problem} problem
 */
const passes = ({ code = "", retry_after: seconds }) =>
  PASSING.has(code) && seconds !== undefined && seconds <= PATIENCE && !(code === "quota_exceeded" && seconds >= 60);

/** @param {Card} card */
export const ended = (card) => ENDED.has(card.state);

export class Work {
  /** @type {Card[]} the newest first */
  cards = loadCards();
  /** @type {(card: Card | null) => void} called after a card changed; null: cards came or went */
  onchange = () => undefined;

  /** @type {Map<string, AbortController>} */
  #sending = new Map();
  /** @type {Map<string, number>} when sending ended, for those that began in this page's life */
  #sent = new Map();
  /** @type {Set<string>} cards whose picture is kept, so that it can be sent */
  #ready = new Set();
  #ordered = 0;
  /** What the service takes at most; Infinity while it is not known. */
  limits = { max_body_bytes: Infinity, max_input_pixels: Infinity };
  /** Jobs that may be unfinished at once: those of this page stay below it. */
  #mostJobs = Infinity;
  /** Milliseconds since 1970: until then nothing is sent. */
  #pausedUntil = 0;
  #ticking = 0;

  /** @param {number | null} most jobs that may be unfinished at once */
  setMostJobs(most) {
    this.#mostJobs = most ?? Infinity;
    this.#sendNext();
  }

  /** Takes up again what was under way when the page was closed. */
  resume() {
    for (const card of this.cards) {
      if (card.state === "waiting" || card.state === "sending") {
        Object.assign(card, { state: "waiting", progress: null });
        this.#ready.add(card.id);
      } else if (card.job && !ended(card)) {
        this.#watch(card);
      } else if (card.state === "succeeded" && card.job?.expires_at && Date.parse(card.job.expires_at) < Date.now()) {
        card.state = "expired";
      }
    }
    void sweep(this.cards);
    this.#sendNext();
  }

  /**
   * @param {File[]} files
   * @param {Choice} choice
   * @returns {Card[]}
   */
  add(files, choice) {
    const added = files.map((file) => {
      /** @type {Card} */
      const card = {
        id: crypto.randomUUID?.() ?? randomId(),
        name: file.name || "picture",
        bytes: file.size,
        type: file.type,
        width: null,
        height: null,
        choice: { ...choice },
        added: Date.now() + this.#ordered++ / 1000,
        state: "waiting",
        progress: null,
        job: null,
        problem: null,
        result: null,
        made_by: null,
        notices: [],
        seconds: null,
      };
      return { card, file };
    });
    this.cards.unshift(...added.map(({ card }) => card).reverse());
    this.#changed(null);
    for (const { card, file } of added) void this.#take(card, file);
    return added.map(({ card }) => card);
  }

  /** @param {Card} card @param {File} file */
  async #take(card, file) {
    if (file.size === 0) return this.#fail(card, { code: "empty_picture", status: 422 });
    // Told before hours of sending; the service checks all the same.
    const { max_body_bytes: most, max_input_pixels: pixels } = this.limits;
    if (file.size > most) return this.#fail(card, { code: "body_too_large", status: 413, limit: most });
    const size = await sizeOf(file);
    if (size) Object.assign(card, size);
    if (size && size.width * size.height > pixels) {
      return this.#fail(card, { code: "too_many_pixels", status: 413, limit: pixels });
    }
    this.#changed(card);
    await keep(card.id, "source", file);
    this.#ready.add(card.id);
    this.#sendNext();
    if (size && size.width * size.height <= THUMBNAIL_PIXELS) {
      try {
        await keep(card.id, "thumbnail", await thumbnail(file, size, THUMBNAIL));
        this.#changed(card);
      } catch (failure) {
        if (!(failure instanceof UndecodableError)) throw failure;
      }
    }
  }

  #sendNext() {
    if (Date.now() < this.#pausedUntil) return; // the pause's end calls again
    let room = this.#mostJobs - this.cards.filter((card) => card.job && !ended(card)).length - this.#sending.size;
    const waiting = this.cards.filter((card) => card.state === "waiting" && this.#ready.has(card.id));
    for (const card of waiting.sort((a, b) => a.added - b.added)) {
      if (this.#sending.size >= SENDING || room-- <= 0) return;
      void this.#send(card);
    }
  }

  /** @param {Card} card */
  async #send(card) {
    const controller = new AbortController();
    this.#sending.set(card.id, controller);
    this.#ready.delete(card.id);
    try {
      const file = await kept(card.id, "source");
      if (!file) return this.#fail(card, { code: "source_gone" });
      Object.assign(card, { state: "sending", progress: 0, problem: null, resumes: undefined });
      this.#changed(card);
      const answer = await send(card, file, {
        onSent: (share) => {
          card.progress = share;
          if (share === 1) this.#sent.set(card.id, performance.now());
          this.onchange(card);
        },
        signal: controller.signal,
      });
      if ("job" in answer) {
        this.#told(card, answer.job);
        if (!ended(card)) this.#watch(card);
      } else {
        await this.#answered(card, answer);
      }
    } catch (failure) {
      if (failure instanceof ProblemError && failure.problem.code === BUSY) this.#sendLater(card);
      else if (failure instanceof ProblemError && passes(failure.problem)) this.#pause(card, failure.problem.retry_after ?? 1);
      else if (failure instanceof ProblemError) this.#fail(card, failure.problem);
      else if (failure instanceof DOMException && failure.name === "AbortError") this.#end(card, "cancelled");
      else throw failure;
    } finally {
      this.#sending.delete(card.id);
      this.#sendNext();
    }
  }

  /** Sends again what failed because there was no connection; the service knows by the id what it has already. */
  online() {
    for (const card of this.cards) {
      if (card.state !== "failed" || card.problem?.code !== "unreachable") continue;
      Object.assign(card, { state: "waiting", problem: null });
      this.#ready.add(card.id);
      this.#changed(card);
    }
    this.#sendNext();
  }

  /** The page was reloaded while it sent, and the service has not noticed yet. @param {Card} card */
  #sendLater(card) {
    Object.assign(card, { state: "waiting", progress: null });
    this.#changed(card);
    setTimeout(() => {
      this.#ready.add(card.id);
      this.#sendNext();
    }, BUSY_MS);
  }

  /**
   * The service wants nothing more for a while: what is not sent waits, and goes on by itself.
   *
   * @param {Card} card that it sent away
   * @param {number} seconds
   */
  #pause(card, seconds) {
    const until = Date.now() + seconds * 1000;
    this.#pausedUntil = Math.max(this.#pausedUntil, until);
    Object.assign(card, { state: "waiting", progress: null, resumes: until });
    this.#ready.add(card.id);
    this.#changed(card);
    setTimeout(() => this.#sendNext(), seconds * 1000 + 1);
    if (!this.#ticking) this.#ticking = window.setInterval(() => this.#tick(), TICK_MS);
  }

  /** The seconds that are left are told anew. */
  #tick() {
    const pausing = this.cards.filter((card) => card.state === "waiting" && card.resumes);
    for (const card of pausing) this.onchange(card);
    if (pausing.length) return;
    clearInterval(this.#ticking);
    this.#ticking = 0;
  }

  /**
   * The service answered with the picture itself.
   *
   * @param {Card} card
   * @param {{ blob: Blob, name: string, madeBy: string, notices: string[] }} answer
   */
  async #answered(card, { blob, name, madeBy, notices }) {
    await keep(card.id, "result", blob);
    const size = (await sizeOf(blob)) ?? { width: 0, height: 0 };
    card.result = { ...size, bytes: blob.size, media_type: blob.type, name };
    Object.assign(card, { made_by: madeBy, notices });
    this.#end(card, "succeeded");
  }

  /** @param {Card} card */
  #watch(card) {
    if (!card.job) return;
    const lost = () => this.#end(card, "expired");
    watch(card.job, (job) => this.#told(card, job), lost);
  }

  /**
   * @param {Card} card
   * @param {import("./types.js").Job} job
   */
  #told(card, job) {
    if (!this.cards.includes(card)) return;
    const before = card.state;
    Object.assign(card, { job, progress: job.progress, result: job.result, notices: job.notices ?? [] });
    const [source] = job.sources ?? [];
    if (source?.width && source.height) Object.assign(card, { width: source.width, height: source.height });
    card.made_by = job.options?.model ?? card.choice.model;
    if (job.error) card.problem = { ...job.error };
    if (job.state === "succeeded" || job.state === "failed" || job.state === "cancelled" || job.state === "expired") {
      this.#end(card, job.state);
    } else {
      card.state = job.state;
      if (before === card.state) this.onchange(card);
      else this.#changed(card);
    }
  }

  /**
   * @param {Card} card
   * @param {import("./types.js").Problem} problem
   */
  #fail(card, problem) {
    card.problem = problem;
    this.#end(card, "failed");
  }

  /**
   * @param {Card} card
   * @param {"succeeded" | "failed" | "cancelled" | "expired"} state
   */
  #end(card, state) {
    const sent = this.#sent.get(card.id);
    if (sent !== undefined && state === "succeeded") card.seconds = (performance.now() - sent) / 1000;
    this.#sent.delete(card.id);
    Object.assign(card, { state, progress: null });
    this.#changed(card);
    this.#sendNext(); // there may be room for one more job
  }

  /** @param {Card} card */
  async cancel(card) {
    const controller = this.#sending.get(card.id);
    if (controller && card.state === "sending") controller.abort();
    else if (card.job && !ended(card)) {
      unwatch(card.job.id);
      this.#end(card, "cancelled");
      await quietly(deleteJob(card.job.id));
    } else if (!ended(card)) this.#end(card, "cancelled");
  }

  /**
   * Sends the picture again as a new card in the same place.
   *
   * @param {Card} card
   * @param {Choice} choice
   */
  async again(card, choice) {
    const file = await kept(card.id, "source");
    if (!file) return this.#fail(card, { code: "source_gone" });
    await this.remove(card);
    this.add([file instanceof File ? file : new File([file], card.name, { type: card.type })], choice);
  }

  /** Removes it here and, with everything that is stored of it, in the service. @param {Card} card */
  async remove(card) {
    this.#sending.get(card.id)?.abort();
    this.cards = this.cards.filter((each) => each !== card);
    this.#changed(null);
    if (card.job) {
      unwatch(card.job.id);
      if (card.state !== "expired" && card.state !== "cancelled") await quietly(deleteJob(card.job.id));
    }
    await forget(card.id);
  }

  /**
   * The finished file; throws ProblemError, after which the card says that it is gone where it is.
   *
   * @param {Card} card
   * @returns {Promise<Blob>}
   */
  async resultOf(card) {
    const here = await kept(card.id, "result");
    if (here) return here;
    try {
      return await (await call(card.job?.links.result ?? "/v1/jobs/none/result")).blob();
    } catch (failure) {
      if (failure instanceof ProblemError && (failure.problem.status === 404 || failure.problem.status === 410)) {
        this.#end(card, "expired");
      }
      throw failure;
    }
  }

  /** @param {Card | null} card */
  #changed(card) {
    saveCards(this.cards);
    this.onchange(card);
  }
}

/** @param {Promise<unknown>} call a courtesy to the service, which forgets by itself in time */
async function quietly(call) {
  try {
    await call;
  } catch (failure) {
    if (!(failure instanceof ProblemError)) throw failure;
  }
}

/** For pages that are not on a secure origin, where randomUUID is missing. */
function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
