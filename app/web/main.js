// Puts the page's parts together.

import { listenCopy, renderCommand, renderTable } from "./about.js";
import { ProblemError, callerLimits, discover, listModels, queryOf, shareJob } from "./api.js";
import { Cards } from "./cards.js";
import { Compare } from "./compare.js";
import { curlFor } from "./curl.js";
import { announce, button, byId, inputById, save } from "./dom.js";
import { Evaluate } from "./evaluate.js";
import { TEXT, applyLanguage, bytesText, chosen, locale, problemText, setLanguage } from "./i18n.js";
import { listen, mayBePicture } from "./intake.js";
import { Options, modelScale, networkPixels, outputSize } from "./options.js";
import "./session.js";
import { copyLink } from "./share.js";
import { Showing } from "./showing.js";
import { learn } from "./speed.js";
import { Stage } from "./stage.js";
import { Work, ended } from "./work.js";
import { ZipTooLargeError, distinct, zip } from "./zip.js";

/** @typedef {import("./types.js").Card} Card */

const MODELS_AGAIN_MS = 1500;

applyLanguage();

const options = new Options();
const stage = new Stage();
const work = new Work();
const showing = new Showing(stage, work);
const compare = new Compare(showing, options);
const evaluation = new Evaluate(showing, options);
/** @type {(() => string) | null} what is wrong with the page as a whole */
let trouble = null;
/** @type {string | null} the card that the viewer shows as soon as it is done */
let awaited = null;
let loading = false;
/** Above that the service makes a job of it, whatever it is asked for. */
let synchronousPixels = Infinity;
/** Whether callers must show a key. */
let needsKey = false;

const cards = new Cards({
  look,
  cancel: (card) => void work.cancel(card),
  again: (card) => void again(card, options.choice),
  retry: (card) => void again(card, card.choice),
  remove: (card) => void remove(card),
  download,
  describe: (card) => options.describe(card.choice),
});

/** @param {File[]} files */
function take(files) {
  const pictures = files.filter(mayBePicture);
  trouble = pictures.length || !files.length ? null : () => TEXT().notAPicture;
  renderTrouble();
  if (!pictures.length) return;
  const [first] = work.add(pictures, options.choice);
  awaited = first.id;
  announce(TEXT().taken({ count: pictures.length }));
  byId("work").scrollIntoView({ block: "nearest" });
}

/** @param {Card} card @param {import("./types.js").Choice} choice */
async function again(card, choice) {
  const shown = showing.card?.id === card.id;
  await work.again(card, choice);
  if (shown || !showing.card) awaited = work.cards[0]?.id ?? null;
}

/** @param {Card} card */
async function remove(card) {
  const shown = showing.card === card;
  await work.remove(card);
  if (!shown) return;
  showing.card = null;
  const next = work.cards.find((each) => each.state === "succeeded");
  if (next) look(next);
  else void showing.example();
}

/** @param {Card} card */
function look(card) {
  awaited = null;
  cards.looked = card.id;
  compare.close();
  cards.renderAll(work.cards);
  const model = options.models.find((each) => each.name === card.choice.model);
  void showing.finished(card, model ? `Chetko · ${chosen(model.title)}` : "Chetko");
  byId("stage").scrollIntoView({ block: "nearest" });
}

/** @param {Card} card */
async function download(card) {
  if (!card.result) return;
  if (card.job && !card.job.links.result.includes("//")) {
    // Straight from the service to the disk, whatever its size.
    const link = document.createElement("a");
    link.href = card.job.links.result;
    link.download = card.result.name;
    link.click();
    return;
  }
  save(await work.resultOf(card), card.result.name);
}

async function downloadAll() {
  const done = work.cards.filter((card) => card.state === "succeeded");
  const names = distinct(done.map((card) => card.result?.name ?? card.name));
  const say = (/** @type {string} */ words) => {
    byId("work-status").textContent = words;
  };
  try {
    const entries = [];
    for (const [number, card] of done.entries()) {
      say(TEXT().work.packing({ number: number + 1, count: done.length }));
      entries.push({ name: names[number], file: await work.resultOf(card) });
    }
    const packed = await zip(entries);
    save(packed, "chetko.zip");
    say(TEXT().work.packed({ size: bytesText(packed.size) }));
  } catch (failure) {
    if (failure instanceof ZipTooLargeError) say(TEXT().work.zipTooLarge);
    else if (failure instanceof ProblemError) say(problemText(failure.problem));
    else throw failure;
  }
}

/** @param {Card | null} card */
function changed(card) {
  if (card && work.cards.includes(card)) cards.render(card);
  else cards.renderAll(work.cards);
  if (card?.state === "succeeded") learnFrom(card);
  if (card?.state === "succeeded" && (awaited === card.id || (awaited === null && !showing.card && !stage.full))) look(card);
  renderWork();
}

/** @param {Card} card that is done */
function learnFrom(card) {
  const seconds = computingSeconds(card);
  const model = options.models.find((each) => each.name === card.choice.model);
  if (!seconds || !model || !card.width || !card.height) return;
  const scale = modelScale(model, card.choice);
  learn(model.name, scale, seconds, networkPixels({ width: card.width, height: card.height }, card.choice, scale));
}

/** Without the time in the queue; null where nothing was computed for this card. @param {Card} card */
function computingSeconds({ job, seconds }) {
  if (!job) return seconds;
  if (seconds === null || !job.started_at || !job.finished_at || !job.strips?.total) return null;
  return (Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000;
}

function renderWork() {
  const words = TEXT().work;
  const done = work.cards.filter((card) => card.state === "succeeded").length;
  const under = work.cards.filter((card) => !ended(card)).length;
  document.body.dataset.has = work.cards.length ? "work" : "nothing";
  byId("work").hidden = !work.cards.length;
  byId("all").hidden = done < 2;
  byId("clear").hidden = work.cards.length < 2 || under > 0;
  byId("work-count").textContent = under ? words.under({ done, count: work.cards.length }) : "";
  document.title = under ? `${done}/${work.cards.length} · Chetko` : "Chetko";
  const [last] = work.cards;
  options.setSubject(last?.width && last.height ? { width: last.width, height: last.height } : null);
  renderAbout();
}

/** @param {string} words beside the viewer */
const note = (words) => {
  byId("stage-note").textContent = words;
};

function renderStage() {
  const { card } = showing;
  const words = TEXT().stage;
  const usual = card ? card.name : words.exampleTitle;
  const title = showing.heading?.() ?? usual;
  byId("stage-title").textContent = title;
  const done = card?.state === "succeeded";
  const other = done && `${queryOf(options.choice)}` !== `${queryOf(card.choice)}`;
  const key = [card?.id, done, other && options.describe(options.choice), title, locale()].join("/");
  const place = byId("stage-actions");
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  const actions = showing.heading ? [backTo(usual)] : stageActions(card, other);
  const focused = place.contains(document.activeElement) ? [...place.children].indexOf(/** @type {Element} */ (document.activeElement)) : -1;
  place.replaceChildren(...actions);
  const successor = place.children[focused];
  if (successor instanceof HTMLElement) successor.focus();
}

/** From a test's pictures. @param {string} name of what was in the viewer before */
const backTo = (name) =>
  button("picture", TEXT().stage.back({ name }), () => (showing.card ? look(showing.card) : void showing.example()));

/** @param {Card | null} card @param {boolean} other whether the options have changed since it was made */
function stageActions(card, other) {
  const words = TEXT().stage;
  const compareAll = button("compare", words.compareAll, () => void compare.start());
  if (card?.state !== "succeeded") return [compareAll];
  const actions = [button("download", TEXT().card.download, () => void download(card), "primary small")];
  if (other) actions.push(button("again", words.again({ choice: options.describe(options.choice) }), () => void again(card, options.choice)));
  actions.push(compareAll);
  if (card.job) actions.push(button("share", words.share, () => void copyLink(() => shareJob(card.job?.id ?? ""), note)));
  return actions;
}

function renderAbout() {
  const card = work.cards.find((each) => each.state === "succeeded") ?? work.cards[0];
  renderCommand(
    curlFor(location.origin, {
      name: card?.name ?? "photo.jpg",
      choice: card?.choice ?? options.choice,
      result: card?.result ?? null,
      asJob: card ? becomesJob(card) : false,
      needsKey,
    }),
  );
}

/** Whether the service makes a job of it, or may: an animation's frames count together. @param {Card} card */
function becomesJob({ name, type, width, height, choice, result }) {
  const size = result?.width ? result : outputSize({ width: width ?? 0, height: height ?? 0 }, choice);
  const source = `${type} ${name}`.toLowerCase();
  const moves = result ? /gif|apng/.test(result.media_type) : /gif/.test(source);
  const mayMove = /webp/.test(source) && (!result || /webp/.test(result.media_type));
  return size.width * size.height > synchronousPixels || moves || mayMove;
}

function renderTrouble() {
  byId("error").hidden = !trouble;
  byId("error").textContent = trouble?.() ?? "";
}

async function loadModels() {
  if (loading) return;
  loading = true;
  try {
    const { limits, authentication } = await discover();
    work.limits = limits;
    needsKey = authentication.required;
    work.setMostJobs((await callerLimits()).max_jobs);
    synchronousPixels = limits.sync_max_output_pixels;
    options.setModels(await listModels());
    renderTable(options.models);
    cards.renewTexts(work.cards);
    trouble = null;
  } catch (failure) {
    if (!(failure instanceof ProblemError)) throw failure;
    const { problem } = failure;
    trouble = () => problemText(problem);
    // The page may be open before the models are: ask again.
    if (problem.code === "not_ready") setTimeout(loadModels, MODELS_AGAIN_MS);
  } finally {
    loading = false;
  }
  renderTrouble();
  renderStage();
  renderAbout();
}

function renewTexts() {
  options.render();
  cards.renewTexts(work.cards);
  showing.renewTexts();
  evaluation.renewTexts();
  renderWork();
  renderStage();
  renderTrouble();
  if (options.models.length) renderTable(options.models);
}

work.onchange = changed;
showing.onchange = () => {
  cards.looked = showing.card?.id ?? null;
  renderStage();
};
options.onchange = () => {
  renderStage();
  renderAbout();
};
listen(byId("drop"), inputById("file"), take);
listenCopy();
byId("all").addEventListener("click", () => void downloadAll());
byId("clear").addEventListener("click", async () => {
  for (const card of [...work.cards]) await remove(card);
});
for (const node of document.querySelectorAll("[data-language]")) {
  node.addEventListener("click", () => {
    setLanguage(node.getAttribute("data-language") ?? "en");
    renewTexts();
  });
}
// Where there is room, the options are open; on a phone they are one line until they are wanted.
const roomy = matchMedia("(min-width: 60rem)");
const fold = () => byId("options-fold").toggleAttribute("open", roomy.matches);
roomy.addEventListener("change", fold);
fold();
window.addEventListener("online", () => {
  work.online();
  if (trouble) void loadModels();
});

cards.renderAll(work.cards);
renderWork();
renderStage();
work.resume();
void loadModels();
const lately = work.cards.find((card) => card.state === "succeeded");
if (lately) look(lately);
else void showing.example();
