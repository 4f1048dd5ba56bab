// The page's texts in its two languages, and which of them is shown.

const TEXTS = {
  en: {
    language: "Language",
    headline: "Small pictures, larger and sharp",
    lead: "Drop a picture and get it 2 or 4 times larger. It is processed here, on this server, and not kept.",
    drop: "Drop a picture here, paste it, or choose a file",
    formats: "PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF, HEIC",
    model: "Model",
    models: "Models",
    scale: "Enlarge by",
    start: "Enlarge",
    cancel: "Cancel",
    result: "Result",
    download: "Download",
    before: "Before",
    after: "After",
    compare: "Divider between before and after",
    percent: ({ value }) => `${value} percent before`,
    chosen: ({ name, size }) => `${name}, ${size}`,
    uploading: ({ percent }) => `Sending: ${percent} %`,
    enlarging: "Enlarging…",
    done: ({ seconds }) => `Done in ${seconds} s.`,
    cancelled: "Cancelled.",
    facts: ({ width, height, size, model }) => `${width} × ${height} pixels, ${size}, ${model}`,
    noPreview: "Your browser cannot show this format. The result can be downloaded all the same.",
    notice: { "first-frame-only": "The file holds several frames or pages; only the first was enlarged." },
    error: {
      unreachable: "The server cannot be reached. Check the connection and try again.",
      not_a_picture: "This is not a picture file.",
      unknown: ({ status }) => `The server answered with an error (${status}).`,
      // Where the server's sentence speaks to programs.
      body_too_large: ({ limit }) => `The file is too large: at most ${megabytes(limit, "en")} are taken.`,
      too_many_pixels: ({ limit }) => `The picture is too large: at most ${megapixels(limit)} megapixels are taken.`,
      output_too_large: ({ limit }) =>
        `The result would be too large: at most ${megapixels(limit)} megapixels. Choose 2× or a smaller picture.`,
      empty_picture: "The file is empty.",
    },
    unit: ["B", "kB", "MB"],
  },
  ru: {
    language: "Язык",
    headline: "Маленькие картинки — крупно и чётко",
    lead: "Перетащите картинку и получите её в 2 или 4 раза больше. Обработка идёт здесь, на этом сервере; ничего не сохраняется.",
    drop: "Перетащите картинку сюда, вставьте из буфера или выберите файл",
    formats: "PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF, HEIC",
    model: "Модель",
    models: "Модели",
    scale: "Во сколько раз",
    start: "Увеличить",
    cancel: "Отменить",
    result: "Результат",
    download: "Скачать",
    before: "До",
    after: "После",
    compare: "Граница между «до» и «после»",
    percent: ({ value }) => `${value} процентов «до»`,
    chosen: ({ name, size }) => `${name}, ${size}`,
    uploading: ({ percent }) => `Отправка: ${percent} %`,
    enlarging: "Увеличиваю…",
    done: ({ seconds }) => `Готово за ${seconds} с.`,
    cancelled: "Отменено.",
    facts: ({ width, height, size, model }) => `${width} × ${height} пикселей, ${size}, ${model}`,
    noPreview: "Браузер не умеет показывать этот формат. Результат всё равно можно скачать.",
    notice: { "first-frame-only": "В файле несколько кадров или страниц; увеличено только первое изображение." },
    error: {
      unreachable: "Сервер недоступен. Проверьте соединение и попробуйте ещё раз.",
      not_a_picture: "Это не файл с картинкой.",
      unknown: ({ status }) => `Сервер ответил ошибкой (${status}).`,
      body_too_large: ({ limit }) => `Файл слишком большой: принимается не больше ${megabytes(limit, "ru")}.`,
      too_many_pixels: ({ limit }) => `Картинка слишком большая: принимается не больше ${megapixels(limit)} мегапикселей.`,
      output_too_large: ({ limit }) =>
        `Результат получился бы слишком большим: не больше ${megapixels(limit)} мегапикселей. Выберите 2× или картинку поменьше.`,
      overloaded: "Сервер занят. Попробуйте через несколько секунд.",
      not_ready: "Сервер ещё запускается. Попробуйте через несколько секунд.",
      draining: "Сервер останавливается. Попробуйте позже.",
      upload_too_slow: "Отправка шла слишком медленно. Попробуйте ещё раз или выберите файл поменьше.",
      empty_picture: "Файл пустой.",
      internal_error: "На сервере случилась ошибка. Попробуйте ещё раз.",
      unknown_model: "Такой модели больше нет. Обновите страницу.",
      unknown_scale: "У этой модели нет такого увеличения. Выберите другое.",
    },
    // By the status, for the many ways in which a file itself can be wrong.
    errorByStatus: {
      415: "Этот формат не поддерживается. Подойдут PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF, HEIC.",
      422: "Файл повреждён или его нельзя обработать с этими настройками.",
      413: "Картинка слишком большая.",
    },
    unit: ["Б", "кБ", "МБ"],
  },
};

const STORED = "chetko-language";

let language = initialLanguage();

function initialLanguage() {
  try {
    const stored = localStorage.getItem(STORED);
    if (stored in TEXTS) return stored;
  } catch {
    // Storage may be forbidden; then the choice lasts as long as the page.
  }
  for (const wanted of navigator.languages ?? []) {
    const base = wanted.toLowerCase().split("-")[0];
    if (base in TEXTS) return base;
  }
  return "en";
}

const megapixels = (pixels) => Math.round(pixels / 1e5) / 10;
const megabytes = (bytes, forLanguage) => `${Math.round(bytes / 1e5) / 10} ${TEXTS[forLanguage].unit[2]}`;

export function currentLanguage() {
  return language;
}

export function text(key, values = {}) {
  const found = key.split(".").reduce((at, part) => at?.[part], TEXTS[language]);
  return typeof found === "function" ? found(values) : found;
}

// A problem (RFC 9457) in plain words: by its code where this language knows it, else the server's own sentence.
export function problemText(problem) {
  return (
    text(`error.${problem.code}`, problem) ??
    TEXTS[language].errorByStatus?.[problem.status] ??
    problem.detail ??
    text("error.unknown", problem)
  );
}

export function bytesText(bytes) {
  const power = bytes < 1000 ? 0 : bytes < 1e6 ? 1 : 2;
  const value = bytes / 1000 ** power;
  const digits = power && value < 10 ? 1 : 0;
  return `${value.toLocaleString(language, { maximumFractionDigits: digits })} ${TEXTS[language].unit[power]}`;
}

export function setLanguage(chosen) {
  language = chosen;
  try {
    localStorage.setItem(STORED, chosen);
  } catch {
    // As above.
  }
  applyLanguage();
}

// Writes every text that stands in the document itself; main.js renews those that depend on what happened.
export function applyLanguage() {
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-i18n]")) node.textContent = text(node.dataset.i18n);
  for (const node of document.querySelectorAll("[data-i18n-label]")) {
    node.setAttribute("aria-label", text(node.dataset.i18nLabel));
  }
  for (const node of document.querySelectorAll("[data-i18n-alt]")) node.alt = text(node.dataset.i18nAlt);
  for (const node of document.querySelectorAll("[data-language]")) {
    node.setAttribute("aria-pressed", String(node.dataset.language === language));
  }
}
