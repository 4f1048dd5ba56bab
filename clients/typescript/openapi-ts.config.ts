import { defineConfig } from "@hey-api/openapi-ts";

// What `npm run generate` makes: see `make clients`.
export default defineConfig({
  input: "../../docs/openapi.json",
  output: { path: "src/client", clean: true, importFileExtension: ".js" },
  plugins: ["@hey-api/client-fetch", "@hey-api/typescript", "@hey-api/sdk"],
});
