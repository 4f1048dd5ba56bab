// Everything that touches many pixels, away from the page's thread. pictures.js is its other side.

import { bicubic } from "./bicubic.js";

const SMALLEST_LEVEL = 1024; // a level this wide or high needs no smaller one beside it

/** @type {Record<string, (given: any) => Promise<{ answer: any, transfer: Transferable[] }>>} */
const WORK = {
  /** @param {{ file: Blob, edge: number, width: number, height: number }} given */
  async thumbnail({ file, edge, width, height }) {
    const share = Math.min(1, edge / Math.min(width, height));
    const to = { width: Math.max(1, Math.round(width * share)), height: Math.max(1, Math.round(height * share)) };
    const small = (await shrunkJpeg(file, to)) ?? (await shrunkBitmap(file, to));
    const canvas = drawn(small, to.width, to.height);
    small.close();
    return { answer: await canvas.convertToBlob({ type: "image/webp", quality: 0.85 }), transfer: [] };
  },

  /** @param {{ file: Blob }} given */
  async levels({ file }) {
    return withLevels(await createImageBitmap(file));
  },

  /** @param {{ file: Blob, width: number, height: number }} given */
  async bicubic({ file, width, height }) {
    const { data, width: from, height: high } = await pixelsOf(file);
    const large = bicubic(data, from, high, width, height);
    return withLevels(await createImageBitmap(new ImageData(large, width, height)));
  },

  /** @param {{ file: Blob, left: number, top: number, width: number, height: number }} given */
  async crop({ file, left, top, width, height }) {
    const part = await createImageBitmap(file, left, top, width, height);
    const canvas = drawn(part, width, height);
    part.close();
    return { answer: await canvas.convertToBlob({ type: "image/png" }), transfer: [] };
  },
};

self.onmessage = async ({ data: { id, work, given } }) => {
  try {
    const { answer, transfer } = await WORK[work](given);
    self.postMessage({ id, answer }, { transfer });
  } catch (failure) {
    self.postMessage({ id, failure: failure instanceof Error ? failure.message : String(failure) });
  }
};

/**
 * A JPEG decoded at an eighth to all of its size, whichever comes nearest: a photograph of 12 megapixels needs 11 MB on
 * the way, instead of 63. Null where the browser cannot, which is so for every other format.
 *
 * @param {Blob} file
 * @param {{ width: number, height: number }} to
 */
async function shrunkJpeg(file, to) {
  if (file.type !== "image/jpeg" || !("ImageDecoder" in self)) return null;
  // Twice as large as wanted, for the nearest size may be smaller; one length, for the file may lie on its side.
  const wanted = 2 * Math.max(to.width, to.height);
  const decoder = new ImageDecoder({ data: file.stream(), type: file.type, desiredWidth: wanted, desiredHeight: wanted });
  try {
    return (await decoder.decode()).image;
  } catch {
    return null; // damaged, or no JPEG: the other way tells
  } finally {
    decoder.close();
  }
}

/**
 * Shrunk as it is decoded: a canvas would make a second large picture on the way.
 *
 * @param {Blob} file
 * @param {{ width: number, height: number }} to
 */
const shrunkBitmap = (file, to) =>
  createImageBitmap(file, { resizeWidth: to.width, resizeHeight: to.height, resizeQuality: "high" });

/** @param {Blob} file */
async function pixelsOf(file) {
  const bitmap = await createImageBitmap(file);
  const canvas = drawn(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  return context2d(canvas).getImageData(0, 0, canvas.width, canvas.height);
}

/** @param {ImageBitmap} bitmap */
async function withLevels(bitmap) {
  const levels = [bitmap];
  let last = bitmap;
  while (Math.max(last.width, last.height) > SMALLEST_LEVEL) {
    last = drawn(last, Math.ceil(last.width / 2), Math.ceil(last.height / 2)).transferToImageBitmap();
    levels.push(last);
  }
  return { answer: { width: bitmap.width, height: bitmap.height, levels }, transfer: levels };
}

/**
 * @param {ImageBitmap | VideoFrame} picture
 * @param {number} width
 * @param {number} height
 */
function drawn(picture, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = context2d(canvas);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, width, height);
  return canvas;
}

/** @param {OffscreenCanvas} canvas */
function context2d(canvas) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("This browser gives no canvas.");
  return context;
}
