// The page's English texts. Every other language has the same keys, which `tsc --checkJs` compares.

/** @typedef {import("../types.js").Problem} Problem */

/** @param {number | undefined} pixels */
const megapixels = (pixels) => Math.round((pixels ?? 0) / 1e5) / 10;
/** @param {number | undefined} bytes */
const megabytes = (bytes) => Math.round((bytes ?? 0) / 1e5) / 10;

/** @type {Record<string, string | ((problem: Problem) => string)>} */
const errors = {
  unreachable: "The server cannot be reached. Check the connection and try again.",
  empty_picture: "The file is empty. Choose another one.",
  source_gone: "The picture is no longer in this browser. Choose it again.",
  // Where the server's sentence speaks to programs.
  body_too_large: ({ limit }) => `The file is too large: at most ${megabytes(limit)} MB are taken.`,
  too_many_pixels: ({ limit }) => `The picture is too large: at most ${megapixels(limit)} megapixels are taken.`,
  output_too_large: ({ limit }) =>
    `The result would be too large: at most ${megapixels(limit)} megapixels. Choose 2× or a smaller picture.`,
  overloaded: "The server is busy. Try again in a few seconds.",
  draining: "The server is being restarted. Try again in a moment.",
  not_ready: "The server is still starting. The page goes on by itself.",
  queue_unavailable: "The server cannot take jobs right now. Try again in a minute.",
  storage_full: "The server has no room left. Remove pictures that you no longer need, or try again later.",
  storage_unavailable: "The server cannot reach its storage right now. Try again in a minute.",
  rate_limited: "That was a lot at once. Wait a minute, then try again.",
  quota_exceeded: "Your share of this server is used up. Remove finished pictures, or try again later.",
  needs_key: "This server wants a key. Reload the page to give it yours.",
  invalid_key: "This key is not known here, or was revoked. Ask whoever runs this server for a new one.",
  missing_scope: "Your key does not allow this. Ask whoever runs this server.",
  job_expired: "The result has expired on the server. Enlarge the picture again.",
  unknown_job: "The server no longer has this picture. Enlarge it again.",
};

/** @type {Record<number, string>} */
const errorsByStatus = {};

/** @type {Record<string, string>} */
const notices = {
  "first-frame-only": "The file holds several frames or pages; only the first was enlarged.",
};

const en = {
  language: "Language",
  headline: "Small pictures, large and sharp",
  lead: "Drop a picture and get it up to 8 times larger, with edges as crisp as if it had been taken that way. It is computed on this server and goes nowhere else.",
  dropTitle: "Drop pictures here",
  dropDetail: "paste them, or click to choose. Folders are fine too.",
  choose: "Choose pictures",
  chooseDetail: "from this device, or paste them",
  formats: "PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF, HEIC",
  notAPicture: "These are no picture files. PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF and HEIC are taken.",
  /** @param {{ count: number }} values */
  taken: ({ count }) => (count === 1 ? "One picture taken." : `${count} pictures taken.`),
  /** @param {{ status: number }} values */
  unknownError: ({ status }) => `The server answered with an error (${status}). Try again.`,
  units: ["B", "kB", "MB", "GB"],
  decibels: "dB",
  time: { seconds: "s", minutes: "min" },
  errors,
  errorsByStatus,
  notices,
  options: {
    title: "How",
    model: "Model",
    size: "Enlarge by",
    factor: "Factor",
    target: "Size",
    factorLabel: "Factor, 1 to 8",
    width: "Width",
    height: "Height",
    fit: "If the shape differs",
    fitInside: "fit inside",
    fitCover: "fill and crop",
    fitExact: "stretch",
    more: "More options",
    format: "Format",
    formatSame: "As the source",
    quality: "Quality, 1 to 100",
    qualityAuto: "good",
    equalize: "Colours",
    equalizeAuto: "as the model advises",
    equalizeOn: "match the source exactly",
    equalizeOff: "as they come",
    strip: "Remove metadata (place, camera, profile)",
    /** @param {{ set: string, value: string }} values */
    psnr: ({ set, value }) => `${value} dB on ${set}`,
    /** @param {{ value: string }} values */
    lpips: ({ value }) => `LPIPS ${value}`,
    /** @param {{ time: string }} values */
    forThis: ({ time }) => `about ${time} for your picture`,
    /** @param {{ time: string }} values */
    perMegapixel: ({ time }) => `about ${time} per megapixel`,
  },
  stage: {
    label: "Viewer",
    exampleTitle: "An example",
    example: "A 480 × 325 photo, 4 times larger. Left: what other programs make of it. Right: Chetko.",
    comparing: "The same region twice. Choose two pictures of the strip below to see them here.",
    bicubic: "Bicubic",
    /** @param {{ names: string }} values */
    picture: ({ names }) => `Picture: ${names}`,
    /** @param {{ value: number }} values */
    percent: ({ value }) => `${value} percent`,
    divider: "Divider between before and after",
    keys: "Picture. Arrow keys move it, plus and minus zoom, 0 fits it, 1 shows its real pixels, L is the loupe, F fills the window.",
    slider: "Slider",
    side: "Side by side",
    blink: "Blink",
    modes: "How to compare",
    zoomIn: "Zoom in",
    zoomOut: "Zoom out",
    fit: "Fit",
    one: "1:1, real pixels",
    loupe: "Loupe",
    expand: "Whole window",
    zoom: "Zoom",
    loading: "Loading the result…",
    noBefore: "This browser cannot show the original, so there is only the result.",
    undecodable: "This browser cannot show this result. The download is fine.",
    tooLarge: "This result is too large to be shown here. The download is fine.",
    compareAll: "Compare all models",
    /** @param {{ name: string }} values */
    back: ({ name }) => `Back to “${name}”`,
    share: "Copy link",
    /** @param {{ date: string }} values */
    shared: ({ date }) => `The link is on the clipboard. It works until ${date}.`,
    /** @param {{ date: string }} values */
    sharedUntil: ({ date }) => `works until ${date}`,
    /** @param {{ choice: string }} values */
    again: ({ choice }) => `Again with ${choice}`,
  },
  work: {
    title: "Your pictures",
    all: "Download all (ZIP)",
    clear: "Remove all",
    /** @param {{ done: number, count: number }} values */
    under: ({ done, count }) => `${done} of ${count} done`,
    /** @param {{ number: number, count: number }} values */
    packing: ({ number, count }) => `Packing ${number} of ${count}…`,
    /** @param {{ size: string }} values */
    packed: ({ size }) => `chetko.zip, ${size}, is on its way.`,
    zipTooLarge: "Together they are more than 4 GB, which a ZIP cannot hold. Download them one by one.",
  },
  card: {
    /** @param {{ name: string }} values */
    progress: ({ name }) => `Progress of ${name}`,
    /** @param {{ name: string }} values */
    look: ({ name }) => `Look at ${name}`,
    download: "Download",
    cancel: "Cancel",
    retry: "Try again",
    remove: "Remove",
    waiting: "Waiting to be sent",
    /** @param {{ time: string }} values */
    pausing: ({ time }) => `The server asks for a pause. It goes on by itself in ${time}.`,
    /** @param {{ percent: string }} values */
    sending: ({ percent }) => `Sending: ${percent} %`,
    working: "Enlarging…",
    /** @param {{ count: number }} values */
    queued: ({ count }) => `In the queue, ${count} ahead`,
    queuedNext: "Next in the queue",
    preparing: "Reading the picture…",
    /** @param {{ done: number, total: number }} values */
    strips: ({ done, total }) => `Enlarging: ${done} of ${total} strips.`,
    assembling: "Putting it together…",
    /** @param {{ time: string }} values */
    left: ({ time }) => `About ${time} left`,
    done: "Done.",
    /** @param {{ time: string }} values */
    doneIn: ({ time }) => `Done in ${time}.`,
    cancelled: "Cancelled.",
    expired: "The server has deleted the result: its time was over. Try again to make it anew.",
  },
  compare: {
    title: "The same region through every model",
    preparing: "Cutting out the region…",
    noSource: "The original is no longer in this browser. Choose it again to compare.",
    undecodable: "This browser cannot read the original, so nothing can be cut out of it.",
    others: "what other programs do",
    /** @param {{ name: string }} values */
    running: ({ name }) => `${name} is at work…`,
    done: "The comparison is done.",
    hint: "Click two pictures to see them in the viewer above.",
    close: "Close",
  },
  strip: {
    save: "Save as PNG",
    copy: "Copy picture",
    share: "Share",
    copied: "The strip is on the clipboard.",
    notCopied: "The browser did not allow copying. Save it as PNG instead.",
  },
  evaluate: {
    title: "Test it on a sharp picture",
    lead: "A picture whose truth is known: it is shrunk, every model restores it, and each result is measured against your original.",
    choose: "Choose a sharp picture",
    example: "Try it with our dog",
    scale: "Shrink by",
    /** @param {{ name: string }} values */
    running: ({ name }) => `${name} is being shrunk, restored by every model, and measured…`,
    /** @param {{ name: string, scale: number }} values */
    done: ({ name, scale }) => `${name}, shrunk ${scale} times and restored.`,
    /** @param {{ name: string }} values */
    heading: ({ name }) => `Test: ${name}`,
    method: "Method",
    original: "Original",
    truth: "what was shrunk",
    time: "Time",
    meaning:
      "PSNR and SSIM tell how near each pixel is to the original (more is better); they like soft pictures. LPIPS tells how different it looks to a network that has learnt to see (less is better); it likes texture, also when it is invented. Trust your eyes first.",
  },
  about: {
    title: "About Chetko",
    what: "Chetko (Russian чётко, “sharply, clearly”) enlarges pictures with convolutional networks that have seen what small photographs looked like before they were shrunk. The faithful models put back only what the small picture tells; perceptual ones also add texture that fits.",
    trained:
      "The models were trained from random weights on free photographs; none of the pictures below, nor any of the test sets, was among them. Each model’s manifest tells its recipe, its data and its measurements.",
    table: "Measured",
    tableHint: "PSNR on luma against the public test sets, as in the published comparisons. LPIPS on Set14: smaller looks nearer to the original.",
    model: "Model",
    scale: "Scale",
    parameters: "Parameters",
    licence: "Licence",
    licences: "Program and weights: Apache-2.0. Example pictures: CC0.",
    credits: "Credits",
    curl: "The same from a terminal",
    copy: "Copy",
    copied: "Copied.",
    selectThis: "Press Ctrl+C to copy it.",
    api: "API",
    models: "Models as JSON",
  },
  session: {
    title: "This server wants a key",
    lead: "Whoever runs it gives keys out. It is asked for once; the browser then keeps a cookie, not the key.",
    key: "Key",
    enter: "Sign in",
    cancel: "Cancel",
    wrong: "This key is not known here, or was revoked.",
  },
  noscript: "This page needs JavaScript.",
};

/** @typedef {typeof en} Texts */

export default en;
