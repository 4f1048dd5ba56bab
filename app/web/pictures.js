// Decoding, bicubic enlarging and cutting: asked for here, done by picture-worker.js, one after the other.

/** @typedef {import("./types.js").Levels} Levels */

/** The browser cannot decode this picture. */
export class UndecodableError extends Error {}

const IDLE_MS = 3000; // a worker keeps memory of the largest picture that it had: one without work is ended

/** @type {Worker | null} */
let worker = null;
let idle = 0;
let asked = 0;
/** @type {Map<number, { resolve: (answer: any) => void, reject: (failure: Error) => void }>} */
const waiting = new Map();
/** @type {Promise<unknown>} */
let last = Promise.resolve();

/**
 * The next piece of work begins when the one before is done: two large pictures at once would need twice the memory.
 *
 * @param {string} work
 * @param {object} given
 * @returns {Promise<any>}
 */
function ask(work, given) {
  const answer = last.then(() => send(work, given));
  last = answer.catch(() => undefined);
  return answer;
}

/**
 * @param {string} work
 * @param {object} given
 */
function send(work, given) {
  clearTimeout(idle);
  worker ??= started();
  const id = ++asked;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker?.postMessage({ id, work, given });
  });
}

function started() {
  const one = new Worker("/static/picture-worker.js", { type: "module" });
  one.onmessage = ({ data: { id, answer, failure } }) => {
    const { resolve, reject } = waiting.get(id) ?? {};
    waiting.delete(id);
    if (failure === undefined) resolve?.(answer);
    else reject?.(new UndecodableError(failure));
    clearTimeout(idle);
    idle = window.setTimeout(() => {
      if (waiting.size) return;
      worker?.terminate();
      worker = null;
    }, IDLE_MS);
  };
  one.onerror = () => {
    for (const { reject } of waiting.values()) reject(new UndecodableError("The picture worker failed."));
    waiting.clear();
    worker = null;
  };
  return one;
}

/**
 * A small picture of the whole.
 *
 * @param {Blob} file
 * @param {{ width: number, height: number }} size of it, as `sizeOf` gives it
 * @param {number} edge of the small one's shorter side, in pixels
 * @returns {Promise<Blob>}
 */
export const thumbnail = (file, size, edge) => ask("thumbnail", { file, ...size, edge });

/** @param {Blob} file @returns {Promise<Levels>} the picture, to be drawn at any zoom; the caller closes it */
export const levelsOf = (file) => ask("levels", { file });

/**
 * What other programs make of it: the bicubic enlargement.
 *
 * @param {Blob} file
 * @param {number} width
 * @param {number} height
 * @returns {Promise<Levels>}
 */
export const bicubicOf = (file, width, height) => ask("bicubic", { file, width, height });

/**
 * A piece of it as PNG.
 *
 * @param {Blob} file
 * @param {import("./types.js").Area} area
 * @returns {Promise<Blob>}
 */
export const cropOf = (file, area) => ask("crop", { file, ...area });

/**
 * Width and height as shown (upright), read from the header alone: nothing is decoded. Null for what the browser does not know.
 *
 * @param {Blob} file
 * @returns {Promise<{ width: number, height: number } | null>}
 */
export function sizeOf(file) {
  return new Promise((resolve) => {
    const address = URL.createObjectURL(file);
    const image = new Image();
    const done = (/** @type {{ width: number, height: number } | null} */ size) => {
      image.onload = image.onerror = null; // an image without a source is an error too
      image.removeAttribute("src");
      URL.revokeObjectURL(address);
      resolve(size);
    };
    image.onload = () => done(image.naturalWidth ? { width: image.naturalWidth, height: image.naturalHeight } : null);
    image.onerror = () => done(null);
    image.src = address;
  });
}
