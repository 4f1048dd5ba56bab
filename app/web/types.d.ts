// What the page's modules hand to each other. Read by `tsc --checkJs` and by editors; browsers never load it.

/** A problem document (RFC 9457), or what the page makes of a failure without one: `code` is then "unreachable". */
export interface Problem {
  code?: string;
  status?: number;
  detail?: string;
  limit?: number;
  allowed?: string[];
  /** Seconds, from the answer's Retry-After. */
  retry_after?: number;
}

export interface BothTexts {
  en: string;
  ru: string;
}

/** `GET /v1`. */
export interface Discovery {
  authentication: { required: boolean; signed_in: boolean };
  limits: { max_body_bytes: number; max_input_pixels: number; sync_max_output_pixels: number };
}

/** A link to a picture. */
export interface Share {
  url: string;
  expires_at: string;
}

/** `GET /v1/limits`. */
export interface CallerLimits {
  /** Unfinished at once; null without a limit. */
  max_jobs: number | null;
}

/** One test set's means: dB, 0..1, distance (smaller is nearer). */
export interface Measures {
  psnr?: number;
  ssim?: number;
  lpips?: number;
}

export interface ModelScale {
  scale: number;
  parameters: number;
  multiply_adds_per_input_pixel: number;
  halo: number;
  /** What a job takes one worker, lately; null until one ran. */
  seconds_per_output_megapixel: number | null;
  measured: Record<string, Measures>;
}

/** An entry of `GET /v1/models`. */
export interface Model {
  name: string;
  version: string;
  default: boolean;
  title: BothTexts;
  description: BothTexts;
  kind: "fidelity" | "perceptual" | "restoration" | "baseline";
  licence: string;
  equalize_colors: boolean;
  scales: ModelScale[];
}

/** What the user chose; what is null is left to the service. */
export interface Choice {
  model: string;
  /** 1..8, or null where a target size is given. */
  scale: number | null;
  width: number | null;
  height: number | null;
  fit: "inside" | "cover" | "exact" | null;
  /** "same" or a format's name. */
  format: string;
  quality: number | null;
  metadata: "keep" | "strip";
  equalize_colors: boolean | null;
}

export interface ResultFacts {
  width: number;
  height: number;
  bytes: number;
  media_type: string;
  name: string;
  sha256?: string | null;
}

export type JobState =
  | "queued"
  | "preparing"
  | "running"
  | "assembling"
  | "succeeded"
  | "failed"
  | "cancelled"
  | "expired";

/** A job as the service describes it. */
export interface Job {
  id: string;
  state: JobState;
  progress: number | null;
  strips: { done: number; total: number } | null;
  position: number | null;
  seconds_left: number | null;
  started_at: string | null;
  finished_at: string | null;
  expires_at: string | null;
  options: { model: string | null };
  sources: { name: string | null; width: number | null; height: number | null; bytes: number | null }[];
  result: ResultFacts | null;
  error: { code: string; detail: string } | null;
  notices: string[];
  links: { self: string; events: string; result: string; tiles: string };
}

/** The states of a picture on the page: those of its job, and two before it. */
export type CardState = "waiting" | "sending" | JobState;

/** A picture of the user: one card. All of it is kept over a reload, the bytes in IndexedDB under `id`. */
export interface Card {
  /** Ours; also the Idempotency-Key, so that a repeated send makes no second job. */
  id: string;
  name: string;
  bytes: number;
  type: string;
  /** Of the source, upright; null until known. */
  width: number | null;
  height: number | null;
  choice: Choice;
  added: number;
  state: CardState;
  /** 0..1 of sending, or of the job. */
  progress: number | null;
  job: Job | null;
  problem: Problem | null;
  result: ResultFacts | null;
  /** What made the result, as name/xSCALE@version. */
  made_by: string | null;
  notices: string[];
  /** Seconds from the end of sending to the result. */
  seconds: number | null;
  /** Milliseconds since 1970: until then the service wants nothing of us. Only of a card that it sent away. */
  resumes?: number;
}

/** Where a picture is looked at: the point of it (in its pixels) in the upper left, and canvas pixels per pixel. */
export interface View {
  x: number;
  y: number;
  zoom: number;
}

/** A rectangle in canvas pixels, or in a picture's. */
export interface Area {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** One picture that can be drawn at any zoom, in bounded memory. */
export interface Layer {
  /** In pixels; both layers of a comparison have the same. */
  readonly width: number;
  readonly height: number;
  /** Draws what `area` shows of it, nothing outside `clip`. */
  draw(context: CanvasRenderingContext2D, view: View, area: Area, clip: Area): void;
  /** Called after more of the picture has come than could be drawn before. */
  onmore: (() => void) | null;
  close(): void;
}

/** A picture's levels, each half the size of the one before; the first is the whole. */
export interface Levels {
  width: number;
  height: number;
  levels: ImageBitmap[];
}

export interface TileIndex {
  width: number;
  height: number;
  tile: number;
  levels: number;
  before: boolean;
}

/** One way of restoring the test picture, as `POST /v1/evaluations` answers. */
export interface EvaluatedMethod extends Measures {
  name: string;
  kind: string;
  title: BothTexts | string;
  seconds?: number | null;
  image: string;
}

export interface Evaluation {
  id?: string;
  scale: number;
  width: number;
  height: number;
  original: { image: string } | string;
  lr?: { image: string } | string;
  methods: EvaluatedMethod[];
}

/** One labelled picture of a strip. */
export interface Panel {
  label: string;
  caption: string;
  image: ImageBitmap;
}
