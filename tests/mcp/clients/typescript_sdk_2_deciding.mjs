// Decide through version 2 of the TypeScript SDK: node typescript_sdk_2_deciding.mjs URL QUESTION MODE, beside its node_modules.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [url, question, mode] = process.argv.slice(2);
const asked = [];
const options = { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode } };
const client = new Client({ name: "test", version: "1" }, options);
client.setRequestHandler("elicitation/create", async (request) => {
  asked.push(request.params.message);
  return { action: "accept", content: { decision: "proceed", feedback: "go" } };
});
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const done = await client.callTool({ name: "flowise_query", arguments: { question, flow_override: "slow" } });
process.stdout.write(JSON.stringify({ asked, answer: done.structuredContent.answer }));
await client.close();
