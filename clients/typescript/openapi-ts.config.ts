import { defineConfig } from "@hey-api/openapi-ts";

// What `npm run generate` makes: see `make clients`.
export default defineConfig({
  input: "../../docs/openapi.json",
  parser: {
    patch: {
      operations: {
        // OpenAPI 3.1 can only call a stream of events a string. The client takes it apart: each event's data is the job.
        "GET /v1/jobs/{job_id}/events": (operation) => {
          operation.responses = {
            ...operation.responses,
            200: {
              description: "Each event's data: the job as it stands.",
              content: { "text/event-stream": { schema: { $ref: "#/components/schemas/JobDocument" } } },
            },
          };
        },
      },
    },
  },
  output: { path: "src/client", clean: true, importFileExtension: ".js" },
  plugins: ["@hey-api/client-fetch", "@hey-api/typescript", "@hey-api/sdk"],
});
