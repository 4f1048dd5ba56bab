// Which language the page speaks, and how it writes numbers in it.

import en from "./texts/en.js";
import ru from "./texts/ru.js";

/** @typedef {import("./texts/en.js").Texts} Texts */

/** @type {Record<string, Texts>} */
const LANGUAGES = { en, ru };
const STORED = "chetko-language";

let language = initial();

function initial() {
  try {
    const stored = localStorage.getItem(STORED) ?? "";
    if (stored in LANGUAGES) return stored;
  } catch {
    // Storage may be forbidden; then the choice lasts as long as the page.
  }
  for (const wanted of navigator.languages) {
    const base = wanted.toLowerCase().split("-")[0];
    if (base in LANGUAGES) return base;
  }
  return "en";
}

/** The texts of the language in use. */
export const TEXT = () => LANGUAGES[language];

export const locale = () => language;

/** @param {import("./types.js").BothTexts | string} texts */
export const chosen = (texts) => (typeof texts === "string" ? texts : language === "ru" ? texts.ru : texts.en);

/** @param {string} wanted */
export function setLanguage(wanted) {
  language = wanted;
  try {
    localStorage.setItem(STORED, wanted);
  } catch {
    // As above.
  }
  applyLanguage();
}

/** Writes every text that stands in the document itself. */
export function applyLanguage() {
  document.documentElement.lang = language;
  for (const [attribute, write] of /** @type {[string, (node: Element, text: string) => void][]} */ ([
    ["data-text", (node, text) => (node.textContent = text)],
    ["data-label", (node, text) => node.setAttribute("aria-label", text)],
    ["data-tip", (node, text) => node.setAttribute("title", text)],
  ])) {
    for (const node of document.querySelectorAll(`[${attribute}]`)) write(node, textAt(node.getAttribute(attribute) ?? ""));
  }
  for (const node of document.querySelectorAll("[data-language]")) {
    node.setAttribute("aria-pressed", String(node.getAttribute("data-language") === language));
  }
}

/** @param {string} path such as stage.fit */
function textAt(path) {
  /** @type {any} */
  let at = LANGUAGES[language];
  for (const part of path.split(".")) at = at?.[part];
  if (typeof at !== "string") throw new Error(`There is no text ${path}.`);
  return at;
}

/**
 * A problem in plain words: by its code where this language knows it, else by its status, else the service's own sentence.
 *
 * @param {import("./types.js").Problem} problem
 */
export function problemText(problem) {
  const { errors, errorsByStatus } = TEXT();
  const known = errors[problem.code ?? ""];
  if (known) return typeof known === "string" ? known : known(problem);
  return errorsByStatus[problem.status ?? 0] ?? problem.detail ?? TEXT().unknownError({ status: problem.status ?? 0 });
}

/** @param {number} value @param {number} [digits] */
export const numberText = (value, digits = 0) =>
  value.toLocaleString(language, { maximumFractionDigits: digits, minimumFractionDigits: digits });

/** @param {number} bytes */
export function bytesText(bytes) {
  const power = bytes < 1000 ? 0 : bytes < 1e6 ? 1 : bytes < 1e9 ? 2 : 3;
  const value = bytes / 1000 ** power;
  const digits = power && value < 10 ? 1 : 0;
  return `${value.toLocaleString(language, { maximumFractionDigits: digits })} ${TEXT().units[power]}`;
}

/** @param {number} seconds */
export function secondsText(seconds) {
  const { seconds: unit, minutes } = TEXT().time;
  if (seconds > 0 && seconds < 0.01) return `< ${numberText(0.01, 2)} ${unit}`;
  if (seconds < 60) return `${numberText(seconds, seconds < 0.095 ? 2 : seconds < 9.95 ? 1 : 0)} ${unit}`;
  const whole = Math.round(seconds);
  return `${numberText(Math.floor(whole / 60))} ${minutes} ${numberText(whole % 60)} ${unit}`;
}
