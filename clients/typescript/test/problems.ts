// Meets every problem through the generated client: node build/test/problems.js PLAN, which tests/clients/situations.py
// wrote. Prints the [status, code] of all that it met.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { createClient } from "../src/client/client/index.js";
import type { Client } from "../src/client/client/index.js";
import {
  evaluationsCreate,
  jobsCreate,
  jobsDelete,
  jobsEvents,
  jobsGet,
  jobsList,
  jobsResult,
  jobsShared,
  jobsTiles,
  modelsGet,
  modelsList,
  picturesUpscale,
  serviceDiscover,
  uploadsCreate,
  uploadsDelete,
  uploadsPut,
} from "../src/client/index.js";
import type { JobDocument, JobRequest, PicturesUpscaleData, Problem } from "../src/client/index.js";

interface Plan {
  folder: string;
  key: string;
  keys: Record<"poor" | "hasty" | "reader", string>;
  urls: Record<string, string>;
  failures: string[];
  nobody: string;
  short_upload: string;
  expired_job: string;
  held_key: string;
  boundary: string;
  cat: string;
}
type Query = NonNullable<PicturesUpscaleData["query"]>;
type Refused = { error?: Problem; response: Response };

const [, , planFile] = process.argv;
assert(planFile !== undefined);
const plan = JSON.parse(await readFile(planFile, "utf8")) as Plan;
const seen: [number, string][] = [];

async function met(answer: Promise<Refused>, status: number, code: string): Promise<void> {
  const { error: problem, response } = await answer;
  assert.equal(response.status, status, `${code}: ${JSON.stringify(problem)}`);
  assert.ok(problem);
  assert.equal(problem.code, code);
  assert.equal(problem.status, status);
  assert.equal(problem.type, `urn:chetko:problem:${code}`);
  assert.ok(problem.detail.length > 0 && problem.title.length > 0);
  assert.equal(problem.request_id, response.headers.get("x-request-id"));
  if (status === 429 || status === 503) assert.ok(Number(response.headers.get("retry-after")) >= 1);
  seen.push([status, code]);
}

function address(name: string): string {
  const url = plan.urls[name];
  assert(url !== undefined, name);
  return url;
}

/** A service of the plan, without a key. */
const at = (name: string, headers: Record<string, string> = {}): Client => createClient({ baseUrl: address(name), headers });

const mainWith = (key: string, headers: Record<string, string> = {}): Client =>
  createClient({ baseUrl: address("main"), headers, auth: (auth) => (auth.scheme === "bearer" ? key : undefined) });

const main = mainWith(plan.key);
const idle = at("idle");

/** A service of the plan, reached by requests that something on the way has changed, as careless proxies do. */
function changed(name: string, to: { path?: string; mediaType?: string; body?: string }): Client {
  const client = createClient({ baseUrl: address(name) });
  client.interceptors.request.use(async (request) => {
    const { path, mediaType, body } = to;
    const headers: Record<string, string> = name === "main" ? { "X-API-Key": plan.key } : {};
    const told = mediaType ?? request.headers.get("content-type");
    if (told !== null) headers["Content-Type"] = told;
    return new Request(path === undefined ? request.url : new URL(path, request.url), {
      method: request.method,
      headers,
      body: body === undefined ? await request.arrayBuffer() : await readFile(join(plan.folder, `${body}.body`)),
    });
  });
  return client;
}

async function file(name: string, called = name): Promise<File> {
  return new File([await readFile(join(plan.folder, name))], called);
}

async function upscale(client: Client, picture: File | string, query: Query = {}): Promise<Refused> {
  const image = typeof picture === "string" ? await file(picture) : picture;
  return picturesUpscale({ client, body: { image }, query });
}

const request = (source: JobRequest["source"], options: JobRequest["options"] = { scale: 2 }): JobRequest => ({ source, options });

async function jobOf(client: Client, model?: string): Promise<JobDocument> {
  const options = model === undefined ? { scale: 2 } : { scale: 2, model };
  return (await jobsCreate({ client, body: request({ base64: plan.cat }, options), throwOnError: true })).data;
}

// Who may.
await met(modelsList({ client: at("main") }), 401, "needs_key");
await met(modelsList({ client: mainWith(`ck_${"x".repeat(43)}`) }), 401, "invalid_key");
await met(upscale(mainWith(plan.keys.reader), "cat.png"), 403, "missing_scope");
const hasty = mainWith(plan.keys.hasty); // one request a minute
while ((await modelsList({ client: hasty })).response.status === 200);
await met(modelsList({ client: hasty }), 429, "rate_limited");
await met(uploadsCreate({ client: mainWith(plan.keys.poor), body: { name: "a", bytes: 2_000_000 } }), 429, "quota_exceeded");
await met(jobsList({ client: at("public") }), 403, "listing_needs_key");
await met(serviceDiscover({ client: at("renamed") }), 421, "host_not_allowed");
await met(upscale(at("failing", { Origin: "https://evil.example" }), "cat.png"), 403, "cross_site_request");

// What is asked for.
await met(modelsGet({ client: main, path: { name: "none" } }), 404, "unknown_model");
await met(modelsGet({ client: main, path: { name: "x".repeat(500) } }), 404, "not_found");
await met(upscale(main, "cat.png", { model: "none" }), 422, "unknown_model");
await met(upscale(main, "cat.png", { scale: 9 }), 422, "invalid_option");
await met(upscale(at("full"), "cat.png", { scale: 5 }), 422, "unknown_scale");
await met(upscale(changed("main", { path: "/v1/upscale?sclae=2" }), "cat.png"), 422, "unknown_option");

// Bodies.
const mediaType = `multipart/form-data; boundary=${plan.boundary}`;
const sent = (to: { mediaType?: string; body?: string }): Promise<Refused> => upscale(changed("main", { mediaType, ...to }), "cat.png");
await met(sent({ mediaType: "image/png" }), 415, "not_multipart");
await met(sent({ mediaType: "multipart/form-data" }), 400, "missing_boundary");
await met(sent({ body: "no-multipart" }), 400, "malformed_multipart");
await met(sent({ body: "cut-off" }), 400, "body_incomplete");
await met(sent({ body: "nothing" }), 400, "empty_body");
await met(sent({ body: "other-name" }), 422, "wrong_field");
await met(sent({ body: "two-parts" }), 422, "too_many_parts");
await met(upscale(mainWith(plan.key, { "Content-Encoding": "gzip" }), "cat.png"), 415, "content_encoding");
await met(upscale(main, new File([], "a.png")), 422, "empty_picture");
await met(upscale(at("slow"), "noise.png"), 408, "upload_too_slow");
await met(jobsCreate({ client: main, body: request({ base64: plan.cat, upload_id: "both" }) }), 422, "invalid_body");
const noJson = changed("main", { mediaType: "application/json", body: "no-json" });
await met(jobsCreate({ client: noJson, body: request({ base64: plan.cat }) }), 422, "invalid_json");

// Pictures.
const plain: Query = { model: "nearest", scale: 2, format: "png" };
await met(upscale(main, "notes.txt", plain), 415, "unsupported_format");
await met(upscale(main, "float.tif", plain), 415, "unsupported_samples");
await met(upscale(at("strict"), "broken.png", plain), 422, "broken_picture");
await met(upscale(main, "scans.jpg", plain), 422, "too_many_scans");
await met(upscale(main, "wide.png", { ...plain, scale: 4, format: "webp" }), 422, "format_cannot_hold");
await met(upscale(at("strict"), "large.png", plain), 413, "too_many_pixels");
await met(upscale(at("strict"), "four-frames.gif", { ...plain, format: "gif" }), 413, "too_many_frames");
await met(upscale(at("strict"), "medium.png", { ...plain, scale: 4 }), 413, "output_too_large");
await met(upscale(at("costly"), "cat.png", plain), 413, "decoding_too_costly");
await met(upscale(at("strict"), new File([new Uint8Array(800_000)], "a.png")), 413, "body_too_large");
await met(jobsCreate({ client: main, body: request({ base64: "" }) }), 422, "empty_file");
await met(evaluationsCreate({ client: main, body: { image: await file("four-frames.gif") } }), 415, "picture_too_small");

// At a loss.
const small: Query = { scale: 2 };
await met(upscale(at("failing"), "cat.png", small), 500, "internal_error");
await met(upscale(at("infinite"), "cat.png", small), 500, "not_finite");
await met(upscale(at("narrow"), "cat.png", small), 503, "device_out_of_memory");
await met(upscale(at("lost"), "cat.png", small), 503, "device_lost");
await met(upscale(at("starting"), "cat.png", small), 503, "not_ready");
await met(upscale(at("stopping"), "cat.png", small), 503, "draining");
await met(upscale(at("full"), "cat.png", small), 503, "overloaded");
await met(jobsGet({ client: at("strict"), path: { job_id: "job_none" } }), 503, "queue_unavailable");
await met(upscale(at("brim", { Prefer: "respond-async" }), "cat.png", small), 503, "storage_full");
await met(upscale(at("astray", { Prefer: "respond-async" }), "cat.png", small), 503, "storage_unavailable");

// Uploads.
const cat = await file("cat.png");
const place = async (client: Client, bytes: number): Promise<string> =>
  (await uploadsCreate({ client, body: { name: "cat.png", bytes }, throwOnError: true })).data.id;
await met(uploadsPut({ client: main, path: { upload_id: "up_none" }, body: cat }), 404, "unknown_upload");
const empty = await place(main, 5);
await met(jobsCreate({ client: main, body: request({ upload_id: empty }) }), 409, "upload_incomplete");
await met(jobsCreate({ client: main, body: request({ upload_id: plan.short_upload }) }), 409, "upload_size_differs");
const asForm = changed("main", { mediaType: "multipart/form-data; boundary=x" });
await met(uploadsPut({ client: asForm, path: { upload_id: empty }, body: cat }), 415, "multipart_not_taken");
await uploadsDelete({ client: main, path: { upload_id: empty }, throwOnError: true });
const used = await place(idle, cat.size);
await uploadsPut({ client: idle, path: { upload_id: used }, body: cat, throwOnError: true });
await jobsCreate({ client: idle, body: request({ upload_id: used }), throwOnError: true });
await met(uploadsDelete({ client: idle, path: { upload_id: used } }), 409, "upload_in_use");

// Jobs.
await met(jobsGet({ client: main, path: { job_id: "job_none" } }), 404, "unknown_job");
await met(jobsShared({ client: main, path: { token: "none" } }), 404, "unknown_share");
await met(jobsResult({ client: at("fleeting"), path: { job_id: plan.expired_job } }), 410, "job_expired");

const done = await jobOf(main, "nearest");
const states: string[] = [];
for await (const job of (await jobsEvents({ client: main, path: { job_id: done.id } })).stream) states.push(job.state);
assert.equal(states.at(-1), "succeeded");
await met(jobsTiles({ client: main, path: { job_id: done.id } }), 404, "no_tiles");
const beyond = mainWith(plan.key, { Range: "bytes=10000000-" });
await met(jobsResult({ client: beyond, path: { job_id: done.id } }), 416, "range_not_satisfiable");

const waiting = await jobOf(idle);
await met(jobsResult({ client: idle, path: { job_id: waiting.id } }), 409, "job_not_finished");
await jobsDelete({ client: idle, path: { job_id: waiting.id }, throwOnError: true });
await met(jobsResult({ client: idle, path: { job_id: waiting.id } }), 409, "job_cancelled");

for (const code of [...plan.failures, "job_failed"]) {
  const patient = at("idle", { Prefer: "wait=30" });
  await met(upscale(patient, await file("cat.png", `${code}.png`), small), 500, code);
}
const listed = await jobsList({ client: idle, throwOnError: true });
const failed = listed.data.jobs.find((job) => job.state === "failed");
assert(failed !== undefined);
await met(jobsResult({ client: idle, path: { job_id: failed.id } }), 409, "job_failed");

const held = at("idle", { "Idempotency-Key": plan.held_key });
await met(jobsCreate({ client: held, body: request({ base64: plan.cat }) }), 409, "idempotency_in_progress");
const twice = at("idle", { "Idempotency-Key": "typescript-twice" });
await jobsCreate({ client: twice, body: request({ base64: plan.cat }), throwOnError: true });
await met(jobsCreate({ client: twice, body: request({ base64: plan.cat }, { scale: 1.5 }) }), 422, "idempotency_conflict");

await met(jobsCreate({ client: main, body: request({ url: plan.nobody }) }), 422, "download_failed");
await met(jobsCreate({ client: main, body: request({ url: "http://127.0.0.1:1/a.png" }) }), 422, "address_not_allowed");

console.log(JSON.stringify(seen));
