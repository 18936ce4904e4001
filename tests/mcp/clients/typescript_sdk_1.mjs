// Ask through version 1 of the TypeScript SDK: node typescript_sdk_1.mjs URL, in a folder with its node_modules.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const client = new Client({ name: "test", version: "1" });
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2])));
const { tools } = await client.listTools();
const asked = await client.callTool({ name: "flowise_query", arguments: { question: "Summarise this PDF" } });
const refused = await client.callTool({
  name: "flowise_query",
  arguments: { question: "?", flow_override: "no-such" },
});
if (asked.isError || !refused.isError) throw new Error(JSON.stringify([asked, refused]));
process.stdout.write(
  JSON.stringify({
    tools: tools.map((tool) => tool.name),
    answer: asked.content[0].text,
    flow: asked.structuredContent.flow_key,
    error: refused.content[0].text,
  }),
);
await client.close();
