// Uses the generated client against a live service: node build/test/live.js URL KEY PICTURE
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

import { createClient } from "../src/client/client/index.js";
import {
  evaluationsCreate,
  jobsCreate,
  jobsDelete,
  jobsEvents,
  jobsGet,
  jobsList,
  jobsResult,
  jobsShare,
  jobsShared,
  modelsGet,
  modelsList,
  picturesUpscale,
  probesLivez,
  probesReadyz,
  serviceDiscover,
  serviceLimits,
  uploadsCreate,
  uploadsDelete,
  uploadsPut,
  uploadsShare,
} from "../src/client/index.js";
import type { JobDocument, Problem } from "../src/client/index.js";

const [, , url, key, path] = process.argv;
assert(url !== undefined && key !== undefined && path !== undefined);
const client = createClient({ baseUrl: url, auth: (auth) => (auth.scheme === "bearer" ? key : undefined) });
const stranger = createClient({ baseUrl: url });
const picture = new File([await readFile(path)], "cat.png", { type: "image/png" });

function refused(answer: { error?: Problem; response: Response }, status: number, code: string): void {
  assert.equal(answer.response.status, status, JSON.stringify(answer.error));
  assert.equal(answer.error?.code, code);
  assert.equal(answer.error.status, status);
  assert.ok(answer.error.detail.length > 0);
  assert.equal(answer.error.request_id, answer.response.headers.get("x-request-id"));
}

async function ended(id: string): Promise<JobDocument> {
  for (let left = 600; left > 0; left -= 1) {
    const { data } = await jobsGet({ client, path: { job_id: id }, throwOnError: true });
    if (["succeeded", "failed", "cancelled", "expired"].includes(data.state)) return data;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("the job did not end");
}

// What is here.
assert.equal((await serviceDiscover({ client, throwOnError: true })).data.authentication.signed_in, true);
assert.equal((await serviceLimits({ client, throwOnError: true })).data.max_concurrent, 16);
assert.equal((await probesLivez({ client, throwOnError: true })).data.status, "alive");
assert.equal((await probesReadyz({ client, throwOnError: true })).data.status, "ready");
const { data: models } = await modelsList({ client, throwOnError: true });
assert.ok(models.models.some((model) => model.name === "nearest"));
assert.equal((await modelsGet({ client, path: { name: "nearest" }, throwOnError: true })).data.kind, "baseline");

// A picture at once.
const large = await picturesUpscale({
  client,
  body: { image: picture },
  query: { model: "nearest", scale: 2, format: "png" },
  throwOnError: true,
});
assert.ok(large.data instanceof Blob);
assert.ok((await large.data.arrayBuffer()).byteLength > 100);

// A large file: upload, job, events, result, link, removal.
const { data: upload } = await uploadsCreate({ client, body: { name: "cat.png", bytes: picture.size }, throwOnError: true });
await uploadsPut({ client, path: { upload_id: upload.id }, body: picture, throwOnError: true });
const { data: job } = await jobsCreate({
  client,
  body: { source: { upload_id: upload.id }, options: { model: "nearest", scale: 2 } },
  throwOnError: true,
});
const { stream } = await jobsEvents({ client, path: { job_id: job.id } });
let last = "";
for await (const event of stream) last = event.state;
assert.equal(last, "succeeded");
assert.equal((await ended(job.id)).result?.media_type, "image/png");
const { data: result } = await jobsResult({ client, path: { job_id: job.id }, throwOnError: true });
assert.ok(result instanceof Blob && result.size > 100);
assert.ok((await jobsList({ client, throwOnError: true })).data.jobs.some((each) => each.id === job.id));
const { data: share } = await jobsShare({ client, path: { job_id: job.id }, throwOnError: true });
const shared = await jobsShared({
  client: stranger,
  path: { token: share.url.slice("/v1/shared/".length) },
  throwOnError: true,
});
assert.equal(shared.data.size, result.size);
const { data: strip } = await uploadsCreate({ client, body: { name: "strip.png", bytes: picture.size }, throwOnError: true });
await uploadsPut({ client, path: { upload_id: strip.id }, body: picture, throwOnError: true });
const { data: link } = await uploadsShare({ client, path: { upload_id: strip.id }, query: { job: job.id }, throwOnError: true });
const seen = await jobsShared({ client: stranger, path: { token: link.url.slice("/v1/shared/".length) }, throwOnError: true });
assert.equal(seen.data.size, picture.size);
await jobsDelete({ client, path: { job_id: job.id }, throwOnError: true });
refused(await jobsGet({ client, path: { job_id: job.id } }), 404, "unknown_job");

// Cancelled before it is done.
const { data: doomed } = await jobsCreate({
  client,
  body: { source: { base64: Buffer.from(await picture.arrayBuffer()).toString("base64") }, options: { scale: 8 } },
  throwOnError: true,
});
await jobsDelete({ client, path: { job_id: doomed.id }, throwOnError: true });

// A measurement.
const { data: evaluation } = await evaluationsCreate({
  client,
  body: { image: picture },
  query: { models: "nearest", scale: 2 },
  throwOnError: true,
});
assert.deepEqual(evaluation.methods.map((method) => method.name), ["bicubic", "nearest"]);

// Refusals are typed, too.
refused(await modelsList({ client: stranger }), 401, "needs_key");
refused(await modelsGet({ client, path: { name: "none" } }), 404, "unknown_model");
refused(await picturesUpscale({ client, body: { image: picture }, query: { model: "none" } }), 422, "unknown_model");
refused(await picturesUpscale({ client, body: { image: picture }, query: { scale: 9 } }), 422, "invalid_option");
refused(await picturesUpscale({ client, body: { image: new File(["text"], "a.txt") } }), 415, "unsupported_format");
refused(await uploadsPut({ client, path: { upload_id: "up_none" }, body: picture }), 404, "unknown_upload");
refused(await uploadsCreate({ client, body: { name: "a", bytes: 10 ** 12 } }), 413, "body_too_large");
const { data: empty } = await uploadsCreate({ client, body: { name: "a", bytes: 5 }, throwOnError: true });
refused(await jobsCreate({ client, body: { source: { upload_id: empty.id } } }), 409, "upload_incomplete");
await uploadsDelete({ client, path: { upload_id: empty.id }, throwOnError: true });
console.log("the TypeScript client works");
