// What is in the viewer: the example, a finished picture beside its bicubic enlargement, or two of a comparison.

import { ProblemError, call } from "./api.js";
import { byId } from "./dom.js";
import { TEXT, problemText } from "./i18n.js";
import { BitmapLayer, TileLayer } from "./layers.js";
import { UndecodableError, bicubicOf, levelsOf } from "./pictures.js";
import { kept } from "./store.js";

/** @typedef {import("./types.js").Card} Card */
/** @typedef {import("./stage.js").Side} Side */

const TILED_PIXELS = 16e6; // the service cuts larger results into tiles
const WHOLE_PIXELS = 40e6; // and a browser should not hold larger ones whole: 4 bytes for each, twice

const EXAMPLE = { width: 480, height: 325, scale: 4, x: 0.43, y: 0.5 };

/** @typedef {{ name: string, file: Blob | null, width: number, height: number }} Source of what is shown */

/** There are no tiles of a result that is too large to be held whole. */
class TooLargeError extends Error {}

export class Showing {
  /** @type {Source | null} null while only an example's picture is there and not its file */
  source = null;
  /** @type {Card | null} */
  card = null;
  /** @type {(() => string) | null} what is shown, while that is neither the card nor the example, but a test's pictures */
  heading = null;
  /** @type {() => void} called after something else is shown, or the same in another state */
  onchange = () => undefined;

  #turn = 0;
  /** @type {() => string} */
  #note = () => "";

  /**
   * @param {import("./stage.js").Stage} stage
   * @param {import("./work.js").Work} work
   */
  constructor(stage, work) {
    this.stage = stage;
    this.work = work;
  }

  /** The kitten: both of its pictures were made beforehand, so that they are there at once. */
  async example() {
    const turn = ++this.#turn;
    const load = async (/** @type {string} */ name) => {
      const bitmap = await createImageBitmap(await (await fetch(`/static/examples/${name}`)).blob());
      return new BitmapLayer({ width: bitmap.width, height: bitmap.height, levels: [bitmap] });
    };
    const [before, after] = await Promise.all([load("kitten-bicubic.webp"), load("kitten-x4.webp")]);
    if (turn !== this.#turn) return;
    this.#show(
      { layer: before, label: () => TEXT().stage.bicubic },
      { layer: after, label: () => "Chetko" },
      () => TEXT().stage.example,
      { zoom: 1, x: EXAMPLE.x, y: EXAMPLE.y },
    );
    this.heading = null;
    this.source = { name: "kitten.jpg", file: null, width: EXAMPLE.width, height: EXAMPLE.height };
    this.onchange();
    this.stage.demonstrate();
  }

  /** The file of what is shown, for comparing. @returns {Promise<Blob | null>} */
  async sourceFile() {
    if (!this.source) return null;
    if (this.source.file) return this.source.file;
    if (this.card) return kept(this.card.id, "source");
    return (await fetch("/static/examples/kitten.jpg")).blob();
  }

  /**
   * A finished card; stays where the user looked if the size is the same.
   *
   * @param {Card} card
   * @param {string} label of what made it
   */
  async finished(card, label) {
    const turn = ++this.#turn;
    const result = card.result;
    if (!result) return;
    this.card = card;
    this.heading = null;
    this.source = { name: card.name, file: null, width: card.width ?? 0, height: card.height ?? 0 };
    this.#busy(TEXT().stage.loading);
    this.onchange();
    /** @type {Side | null} */
    let left = null;
    try {
      const pair = await this.#layersOf(card, result);
      if (turn !== this.#turn) {
        pair.before?.close();
        pair.after.close();
        return;
      }
      if (pair.before) left = { layer: pair.before, label: () => TEXT().stage.bicubic };
      this.#show(left, { layer: pair.after, label: () => label }, pair.before ? () => "" : () => TEXT().stage.noBefore);
    } catch (failure) {
      if (turn !== this.#turn) return;
      if (failure instanceof TooLargeError) this.#say(TEXT().stage.tooLarge);
      else if (failure instanceof UndecodableError) this.#say(TEXT().stage.undecodable);
      else if (failure instanceof ProblemError) this.#say(problemText(failure.problem));
      else throw failure;
    } finally {
      if (turn === this.#turn) this.#busy("");
    }
    this.onchange();
  }

  /**
   * @param {Card} card
   * @param {import("./types.js").ResultFacts} result
   */
  async #layersOf(card, result) {
    if (card.job && result.width * result.height > TILED_PIXELS) {
      const tiles = await tilesOf(card.job.links.tiles);
      if (tiles) return tiles;
    }
    if (result.width * result.height > WHOLE_PIXELS) throw new TooLargeError();
    const after = new BitmapLayer(await levelsOf(await this.work.resultOf(card)));
    const source = await kept(card.id, "source");
    try {
      const before = source ? new BitmapLayer(await bicubicOf(source, after.width, after.height)) : null;
      return { before, after };
    } catch (failure) {
      if (failure instanceof UndecodableError) return { before: null, after };
      throw failure;
    }
  }

  /**
   * Two pictures of a comparison, which stay with their owner.
   *
   * @param {Side} left
   * @param {Side} right
   * @param {(() => string) | null} [heading] where they are not of the picture that was shown
   */
  pair(left, right, heading = null) {
    this.#turn++;
    this.#busy("");
    const { areaWidth, areaHeight } = this.stage.looking;
    const { width, height } = right.layer;
    // As large as whole numbers go, if need be with the edges cut.
    const zoom = Math.max(1, Math.min(8, Math.round(Math.min(areaWidth / width, areaHeight / height))));
    this.#show(left, right, () => TEXT().stage.comparing, { zoom });
    this.heading = heading;
    this.onchange();
  }

  /**
   * @param {Side | null} left
   * @param {Side} right
   * @param {() => string} note
   * @param {{ zoom?: number, x?: number, y?: number }} [how]
   */
  #show(left, right, note, how = {}) {
    this.stage.show(left, right, { keepView: true, ...how });
    this.#note = note;
    this.#say(note());
  }

  renewTexts() {
    this.#say(this.#note());
    this.stage.renewTexts();
  }

  /** @param {string} words */
  #say(words) {
    byId("stage-note").textContent = words;
  }

  /** @param {string} words "" when done */
  #busy(words) {
    byId("busy").hidden = !words;
    byId("busy-words").textContent = words;
  }
}

/** @param {string} link @returns null where the service keeps no tiles of it */
async function tilesOf(link) {
  let index;
  try {
    index = /** @type {import("./types.js").TileIndex} */ (await (await call(link)).json());
  } catch (failure) {
    if (failure instanceof ProblemError && failure.problem.status === 404) return null;
    throw failure;
  }
  const address = (/** @type {string} */ kind) => (/** @type {number} */ level, /** @type {number} */ column, /** @type {number} */ row) =>
    `${link}/${kind}/${level}/${column}/${row}`;
  return {
    before: index.before ? new TileLayer(index, address("before")) : null,
    after: new TileLayer(index, address("result")),
  };
}
