// The page's calls to the service.

/** @typedef {import("./types.js").Card} Card */
/** @typedef {import("./types.js").Choice} Choice */
/** @typedef {import("./types.js").Job} Job */
/** @typedef {import("./types.js").Problem} Problem */

/** What the service refused, or that it could not be reached. */
export class ProblemError extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.detail ?? problem.code ?? "");
    this.problem = problem;
  }
}

/**
 * Asks the user for a key and signs in with it; false when they do not want to. Set by session.js.
 *
 * @type {{ ask: () => Promise<boolean> }}
 */
export const gate = { ask: async () => false };

/**
 * One call; where the service wants a key, it is asked for and the call repeated.
 *
 * @param {string} address
 * @param {RequestInit} [how]
 * @returns {Promise<Response>} a good one; throws ProblemError, or AbortError
 */
export async function call(address, how = {}) {
  let response;
  try {
    response = await fetch(address, how);
  } catch (failure) {
    if (failure instanceof DOMException && failure.name === "AbortError") throw failure;
    throw new ProblemError({ code: "unreachable" });
  }
  if (response.ok) return response;
  const problem = await problemOf(response.status, () => response.json(), response.headers.get("Retry-After"));
  if (wantsKey(problem) && (await gate.ask())) return call(address, how);
  throw new ProblemError(problem);
}

/** @param {Problem} problem */
export const wantsKey = (problem) => problem.status === 401 && problem.code !== "invalid_key";

/** @returns {Promise<import("./types.js").Discovery>} what applies to this caller; asked for a key first where one is needed */
export async function discover() {
  const found = /** @type {import("./types.js").Discovery} */ (await (await call("/v1")).json());
  const { required, signed_in: signedIn } = found.authentication;
  if (!required || signedIn) return found;
  if (!(await gate.ask())) throw new ProblemError({ status: 401, code: "needs_key" });
  return (await call("/v1")).json();
}

/** @returns {Promise<import("./types.js").CallerLimits>} */
export const callerLimits = async () => (await call("/v1/limits")).json();

/** @returns {Promise<import("./types.js").Model[]>} the default one first */
export const listModels = async () => (await (await call("/v1/models")).json()).models;

/** @param {string} id @returns {Promise<Job>} */
export const getJob = async (id) => (await call(`/v1/jobs/${encodeURIComponent(id)}`)).json();

/** @param {string} id */
export const deleteJob = (id) => call(`/v1/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });

/** @param {string} id @returns {Promise<import("./types.js").Share>} */
export const shareJob = async (id) => (await call(`/v1/jobs/${encodeURIComponent(id)}/share`, { method: "POST" })).json();

/**
 * Puts a PNG into the service and makes a link to it.
 *
 * @param {Blob} picture
 * @param {string} name
 * @param {string | null} job with whose result the link ends, if not before
 * @returns {Promise<import("./types.js").Share>}
 */
export async function sharePicture(picture, name, job) {
  const body = JSON.stringify({ name, bytes: picture.size, media_type: "image/png" });
  const headers = { "Content-Type": "application/json" };
  const { id } = await (await call("/v1/uploads", { method: "POST", headers, body })).json();
  const place = `/v1/uploads/${encodeURIComponent(id)}`; // not put_url, which may lie where this page must not connect to
  await call(place, { method: "PUT", body: picture });
  const query = job ? `?${new URLSearchParams({ job })}` : "";
  return (await call(`${place}/share${query}`, { method: "POST" })).json();
}

/**
 * The options as `POST /v1/upscale` takes them; what is left to the service is left out.
 *
 * @param {Choice} choice
 */
export function queryOf(choice) {
  const query = new URLSearchParams({ model: choice.model });
  if (choice.width || choice.height) {
    if (choice.width) query.set("width", String(choice.width));
    if (choice.height) query.set("height", String(choice.height));
    if (choice.width && choice.height && choice.fit) query.set("fit", choice.fit);
  } else {
    query.set("scale", String(choice.scale ?? 4));
  }
  if (choice.format !== "same") query.set("format", choice.format);
  if (choice.quality !== null) query.set("quality", String(choice.quality));
  if (choice.metadata !== "keep") query.set("metadata", choice.metadata);
  if (choice.equalize_colors !== null) query.set("equalize_colors", String(choice.equalize_colors));
  return query;
}

/**
 * Sends a picture to be enlarged as a job. A service that answers at once instead is taken at its word.
 * XMLHttpRequest, because fetch does not tell how much of a body has been sent.
 *
 * @param {Card} card
 * @param {Blob} file
 * @param {{ onSent: (share: number) => void, signal: AbortSignal }} how
 * @returns {Promise<{ job: Job } | { blob: Blob, name: string, madeBy: string, notices: string[] }>}
 *   throws ProblemError, or AbortError once the signal is aborted
 */
export async function send(card, file, how) {
  try {
    return await sendOnce(card, file, how, true);
  } catch (failure) {
    if (!(failure instanceof ProblemError)) throw failure;
    if (wantsKey(failure.problem) && (await gate.ask())) return sendOnce(card, file, how, true);
    // Without its queue a service still answers what is small enough at once.
    if (failure.problem.code === "queue_unavailable") return sendOnce(card, file, how, false);
    throw failure;
  }
}

/**
 * @param {Card} card
 * @param {Blob} file
 * @param {{ onSent: (share: number) => void, signal: AbortSignal }} how
 * @param {boolean} asJob
 * @returns {ReturnType<typeof send>}
 */
function sendOnce(card, file, { onSent, signal }, asJob) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(new DOMException("cancelled", "AbortError"));
      return;
    }
    const body = new FormData();
    body.append("image", file, card.name);
    const request = new XMLHttpRequest();
    request.open("POST", `/v1/upscale?${queryOf(card.choice)}`);
    if (asJob) {
      request.setRequestHeader("Prefer", "respond-async");
      request.setRequestHeader("Idempotency-Key", card.id);
    }
    request.responseType = "blob";
    request.upload.onprogress = (event) => onSent(event.total ? event.loaded / event.total : 0);
    request.upload.onload = () => onSent(1);
    request.onerror = () => reject(new ProblemError({ code: "unreachable" }));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    request.onload = async () => {
      const read = async () => JSON.parse(await request.response.text());
      if (request.status === 202) resolve({ job: await read() });
      else if (request.status !== 200) {
        reject(new ProblemError(await problemOf(request.status, read, request.getResponseHeader("Retry-After"))));
      }
      else {
        resolve({
          blob: request.response,
          name: fileName(request.getResponseHeader("Content-Disposition") ?? ""),
          madeBy: request.getResponseHeader("X-Chetko-Model") ?? "",
          notices: (request.getResponseHeader("X-Chetko-Notice") ?? "").split(/[,\s]+/).filter(Boolean),
        });
      }
    };
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(body);
  });
}

/**
 * A small piece, enlarged at once; as PNG.
 *
 * @param {Blob} piece
 * @param {string} model
 * @param {number} scale
 * @param {AbortSignal} signal
 * @returns {Promise<Blob>}
 */
export async function enlargePiece(piece, model, scale, signal) {
  const body = new FormData();
  body.append("image", piece, "piece.png");
  const query = new URLSearchParams({ model, scale: String(scale), format: "png", metadata: "strip" });
  return (await call(`/v1/upscale?${query}`, { method: "POST", body, signal })).blob();
}

/**
 * Shrinks a sharp picture, restores it by each model, and measures.
 *
 * @param {Blob} file
 * @param {{ scale: number, models: string[], signal: AbortSignal }} how
 * @returns {Promise<import("./types.js").Evaluation>}
 */
export async function evaluate(file, { scale, models, signal }) {
  const body = new FormData();
  body.append("image", file, file instanceof File ? file.name : "picture");
  const query = new URLSearchParams({ models: models.join(","), scale: String(scale) });
  return (await call(`/v1/evaluations?${query}`, { method: "POST", body, signal })).json();
}

/** @param {string} key @returns {Promise<void>} the browser then holds a cookie that scripts cannot read */
export async function signIn(key) {
  const response = await fetch("/v1/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ key }),
  }).catch(() => {
    throw new ProblemError({ code: "unreachable" });
  });
  if (!response.ok) throw new ProblemError(await problemOf(response.status, () => response.json()));
}

/**
 * @param {number} status
 * @param {() => Promise<any>} read
 * @param {string | null} [retryAfter] the header: seconds
 * @returns {Promise<Problem>}
 */
async function problemOf(status, read, retryAfter = null) {
  const told = retryAfter && /^\d+$/.test(retryAfter) ? { status, retry_after: Number(retryAfter) } : { status };
  try {
    return { ...told, ...(await read()) };
  } catch {
    return told;
  }
}

/**
 * RFC 6266: the name in UTF-8 wins over the plain one.
 *
 * @param {string} disposition
 */
function fileName(disposition) {
  const full = /filename\*=UTF-8''([^;]+)/i.exec(disposition);
  if (full) return decodeURIComponent(full[1]);
  return /filename="([^"]*)"/i.exec(disposition)?.[1] ?? "picture";
}
