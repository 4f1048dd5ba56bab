// What the user chooses: model, size, format. The choice is remembered.

import { enlargePiece } from "./api.js";
import { byId, inputById, make } from "./dom.js";
import { TEXT, chosen, numberText, secondsText } from "./i18n.js";
import { cropOf } from "./pictures.js";
import { secondsPerMegapixel } from "./speed.js";

/** @typedef {import("./types.js").Choice} Choice */
/** @typedef {import("./types.js").Model} Model */

const STORED = "chetko-choice";
const SAMPLE = { left: 150, top: 134, width: 52, height: 52 }; // the kitten's eye, in examples/kitten.jpg
const LOSSY = new Set(["jpeg", "webp", "avif"]);

/** @returns {Choice} */
const fresh = () => ({
  model: "",
  scale: 4,
  width: null,
  height: null,
  fit: null,
  format: "same",
  quality: null,
  metadata: "keep",
  equalize_colors: null,
});

export class Options {
  /** @type {Model[]} */
  models = [];
  /** @type {() => void} */
  onchange = () => undefined;
  #choice = stored();
  /** @type {Map<string, Promise<string | null>>} object URLs of samples, by model and version */
  #samples = new Map();
  /** The choice that was told last, as JSON. */
  #told = "";
  /** @type {{ width: number, height: number } | null} of the picture that estimates are for */
  #subject = null;

  constructor() {
    // With every letter: were it told only when a field is left, by clicking a button, that button would change under the
    // finger.
    for (const event of ["input", "change"]) byId("options").addEventListener(event, () => this.#read());
    byId("options").addEventListener("submit", (event) => event.preventDefault());
    this.#write();
  }

  /** @returns {Choice} a copy */
  get choice() {
    return { ...this.#choice, model: this.model?.name ?? this.#choice.model };
  }

  /** The chosen model, or the default one; undefined until they are known. */
  get model() {
    return this.models.find((model) => model.name === this.#choice.model) ?? this.models[0];
  }

  /** Those that are meant for use; baselines are there to be compared with. */
  get offered() {
    const used = this.models.filter((model) => model.kind !== "baseline");
    return used.length ? used : this.models;
  }

  /**
   * Those to compare, baselines first, as in the tables of the field. Not the one in which nothing was trained: bicubic
   * stands beside them anyway.
   */
  get compared() {
    const networks = this.models.filter((model) => model.scales.some((each) => each.parameters > 0));
    return networks.sort((a, b) => Number(b.kind === "baseline") - Number(a.kind === "baseline"));
  }

  /** @param {Model[]} models */
  setModels(models) {
    this.models = models;
    this.render();
  }

  /** @param {{ width: number, height: number } | null} size of the picture that the times are told for */
  setSubject(size) {
    this.#subject = size;
    this.render();
  }

  render() {
    const list = byId("models");
    const focused = document.activeElement instanceof HTMLInputElement ? document.activeElement.value : null;
    const hadFocus = list.contains(document.activeElement);
    list.replaceChildren(...this.offered.map((model) => this.#modelCard(model)));
    if (hadFocus) {
      for (const radio of list.querySelectorAll("input")) if (radio.value === focused) radio.focus();
    }
    const scales = this.model?.scales.map((each) => String(each.scale)) ?? [];
    for (const radio of byId("scales").querySelectorAll("input")) {
      radio.disabled = /^\d+$/.test(radio.value) && scales.length > 0 && !scales.includes(radio.value);
    }
    byId("quality-field").hidden = !(LOSSY.has(this.#choice.format) || this.#choice.format === "same");
    byId("choice").textContent = this.describe(this.choice);
  }

  /** The choice in a few words. @param {Choice} choice */
  describe(choice) {
    const model = this.models.find((each) => each.name === choice.model);
    const parts = [model ? chosen(model.title) : choice.model, sizeText(choice)];
    if (choice.format !== "same") parts.push(choice.format.toUpperCase());
    return parts.filter(Boolean).join(" · ");
  }

  /** @param {Model} model */
  #modelCard(model) {
    const radio = make("input");
    Object.assign(radio, { type: "radio", name: "model", value: model.name, checked: model === this.model });
    const sample = make("img", "sample");
    sample.alt = "";
    sample.hidden = true;
    void this.#sample(model).then((address) => {
      if (!address) return;
      sample.src = address;
      sample.hidden = false;
    });
    const facts = make("span", "numbers", this.#numbers(model));
    const words = make("span", "words", make("strong", "", chosen(model.title)), make("span", "", chosen(model.description)), facts);
    return make("label", "model", radio, sample, words);
  }

  /** @param {Model} model */
  #numbers(model) {
    const words = TEXT().options;
    const scale = modelScale(model, this.#choice);
    const entry = model.scales.find((each) => each.scale === scale) ?? model.scales[0];
    const [set, measured] = Object.entries(entry.measured).find(([name]) => name === "Set14") ?? Object.entries(entry.measured)[0] ?? [];
    const parts = [];
    // A model of one scale has its figures there, whatever is chosen: beside others' at another scale they would mislead.
    const where = model.scales.length === 1 ? `${set} ${entry.scale}×` : set;
    if (where && measured?.psnr !== undefined) parts.push(words.psnr({ set: where, value: numberText(measured.psnr, 2) }));
    if (measured?.lpips !== undefined) parts.push(words.lpips({ value: numberText(measured.lpips, 3) }));
    const each = this.#secondsPerMegapixel(model, entry);
    if (each && this.#subject) {
      const pixels = networkPixels(this.#subject, this.#choice, entry.scale);
      parts.push(words.forThis({ time: secondsText(Math.max(0.1, (each * pixels) / 1e6)) }));
    } else if (each) {
      parts.push(words.perMegapixel({ time: secondsText(each) }));
    }
    return parts.join(" · ");
  }

  /**
   * Of a network's output: as the service measured it, else as this page did, else as another network's time and the work
   * of both let expect, so that a slow model is known for slow before it is chosen. Null while nothing was measured.
   *
   * @param {Model} model
   * @param {import("./types.js").ModelScale} entry
   */
  #secondsPerMegapixel(model, entry) {
    const known = (/** @type {Model} */ { name }, /** @type {import("./types.js").ModelScale} */ one) =>
      one.seconds_per_output_megapixel ?? secondsPerMegapixel(name, one.scale);
    const own = known(model, entry);
    if (own) return own;
    const work = (/** @type {import("./types.js").ModelScale} */ one) => one.multiply_adds_per_input_pixel / one.scale ** 2;
    let nearest = null;
    for (const other of this.models) {
      for (const one of other.scales) {
        const seconds = known(other, one);
        if (!seconds || !work(one) || !work(entry)) continue;
        const ratio = work(entry) / work(one);
        // One of the same scale, if there is any: of the others other layers take the time.
        const distance = Math.abs(Math.log(ratio)) + (one.scale === entry.scale ? 0 : 100);
        if (!nearest || distance < nearest.distance) nearest = { distance, seconds: seconds * ratio };
      }
    }
    return nearest?.seconds ?? null;
  }

  /**
   * A piece of the example, enlarged by this model: made by the service once per version, then kept by the browser.
   *
   * @param {Model} model
   */
  #sample(model) {
    const key = `/sample/${model.name}@${model.version}`;
    const known = this.#samples.get(key);
    if (known) return known;
    const made = makeSample(model, key).catch(() => null); // a card without its sample is still a card
    this.#samples.set(key, made);
    return made;
  }

  #read() {
    const form = new FormData(/** @type {HTMLFormElement} */ (byId("options")));
    const value = (/** @type {string} */ name) => String(form.get(name) ?? "");
    const number = (/** @type {string} */ name) => Number(value(name).replace(",", ".")) || null;
    const size = value("scale");
    Object.assign(this.#choice, {
      model: value("model"),
      scale: size === "factor" ? clamp(number("factor") ?? 3, 1, 8) : size === "target" ? null : Number(size),
      width: size === "target" ? number("width") : null,
      height: size === "target" ? number("height") : null,
      fit: size === "target" ? value("fit") : null,
      format: value("format"),
      quality: number("quality") === null ? null : clamp(Math.round(number("quality") ?? 90), 1, 100),
      metadata: form.has("strip") ? "strip" : "keep",
      equalize_colors: value("equalize") === "" ? null : value("equalize") === "true",
    });
    byId("factor-field").hidden = size !== "factor";
    byId("target-field").hidden = size !== "target";
    if (size === "target" && !this.#choice.width && !this.#choice.height) this.#choice.scale = 4;
    try {
      localStorage.setItem(STORED, JSON.stringify(this.#choice));
    } catch {
      // Then it lasts as long as the page.
    }
    const now = JSON.stringify(this.#choice);
    if (now === this.#told) return;
    this.#told = now;
    this.render();
    this.onchange();
  }

  #write() {
    const choice = this.#choice;
    const size = choice.width || choice.height ? "target" : [2, 4].includes(choice.scale ?? 4) ? String(choice.scale ?? 4) : "factor";
    for (const radio of byId("scales").querySelectorAll("input")) radio.checked = radio.value === size;
    byId("factor-field").hidden = size !== "factor";
    byId("target-field").hidden = size !== "target";
    if (size === "factor") inputById("factor").value = String(choice.scale);
    inputById("width").value = choice.width ? String(choice.width) : "";
    inputById("height").value = choice.height ? String(choice.height) : "";
    if (choice.fit) inputById("fit").value = choice.fit;
    inputById("format").value = choice.format;
    inputById("quality").value = choice.quality ? String(choice.quality) : "";
    inputById("strip").checked = choice.metadata === "strip";
    inputById("equalize").value = choice.equalize_colors === null ? "" : String(choice.equalize_colors);
  }
}

/** @returns {Choice} */
function stored() {
  try {
    return { ...fresh(), ...JSON.parse(localStorage.getItem(STORED) ?? "{}") };
  } catch {
    return fresh();
  }
}

/** @param {number} value @param {number} least @param {number} most */
const clamp = (value, least, most) => Math.min(most, Math.max(least, value));

/** @param {Choice} choice such as "4×" or "1920 × …" */
export function sizeText(choice) {
  if (choice.width || choice.height) return `${choice.width ?? "…"} × ${choice.height ?? "…"}`;
  return `${numberText(choice.scale ?? 4, Number.isInteger(choice.scale ?? 4) ? 0 : 1)}×`;
}

/**
 * The result's size as the choice asks for it.
 *
 * @param {{ width: number, height: number }} source
 * @param {Choice} choice
 */
export function outputSize(source, choice) {
  let factor = choice.scale ?? 4;
  const across = choice.width ? choice.width / source.width : null;
  const down = choice.height ? choice.height / source.height : null;
  if (across !== null && down !== null) {
    if (choice.fit !== "inside" && choice.width && choice.height) return { width: choice.width, height: choice.height };
    factor = Math.min(across, down);
  } else if (across !== null || down !== null) {
    factor = across ?? down ?? 1;
  }
  return { width: Math.max(1, Math.round(source.width * factor)), height: Math.max(1, Math.round(source.height * factor)) };
}

/**
 * Pixels that the network gives on the way to the result, which may be made smaller after it.
 *
 * @param {{ width: number, height: number }} source
 * @param {Choice} choice
 * @param {number} scale of the network
 */
export function networkPixels(source, choice, scale) {
  const { width, height } = outputSize(source, choice);
  return Math.max(width * height, source.width * source.height * scale ** 2);
}

/**
 * The factor of the model that the choice makes use of.
 *
 * @param {Model} model
 * @param {Choice} choice
 */
export function modelScale(model, choice) {
  const scales = model.scales.map((each) => each.scale).sort((a, b) => a - b);
  return scales.find((each) => each >= (choice.scale ?? 4)) ?? scales[scales.length - 1] ?? 4;
}

/**
 * @param {Model} model
 * @param {string} key
 */
async function makeSample(model, key) {
  const shelf = "caches" in window ? await caches.open("chetko-samples") : null;
  const there = await shelf?.match(key);
  if (there) return URL.createObjectURL(await there.blob());
  const example = await (await fetch("/static/examples/kitten.jpg")).blob();
  const piece = await cropOf(example, SAMPLE);
  const large = await enlargePiece(piece, model.name, modelScale(model, fresh()), AbortSignal.timeout(30_000));
  await shelf?.put(key, new Response(large));
  return URL.createObjectURL(large);
}
