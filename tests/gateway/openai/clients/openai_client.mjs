// Ask through OpenAI's client: node openai_client.mjs URL PROXY KEY QUESTIONS, in a folder with its node_modules.
import OpenAI from "openai";

const [url, proxy, key] = process.argv.slice(2, 5);
const questions = JSON.parse(process.argv[5]);
const direct = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
const shaky = new OpenAI({ baseURL: `${proxy}/v1`, apiKey: key });

const ask = (client, name, model = "plain", more = {}) =>
  client.chat.completions.create({ model, messages: [{ role: "user", content: questions[name] }], ...more });

async function streamed(client, name, model) {
  let text = "", finish = null, usage = null;
  const stream = await ask(client, name, model, { stream: true, stream_options: { include_usage: true } });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
    usage = chunk.usage?.total_tokens ?? usage;
  }
  return { text, finish, usage };
}

async function failure(call) {
  try {
    return { returned: JSON.stringify(await call()) };
  } catch (refused) {
    return { class: refused.constructor.name, status: refused.status, code: refused.code, said: String(refused) };
  }
}

const { data: answer, request_id } = await ask(direct, "answer").withResponse();
const models = [];
for await (const model of direct.models.list()) models.push(model.id);
process.stdout.write(
  JSON.stringify({
    models,
    answer: answer.choices[0].message.content,
    query: request_id,
    stream: await streamed(direct, "stream", "technical-analysis"),
    unknown: await failure(() => ask(direct, "answer", "gpt-4o")),
    unsupported: await failure(() => ask(direct, "answer", "plain", { n: 2 })),
    failed: await failure(() => ask(direct, "failed", "broken")),
    failed_in_stream: await failure(() => streamed(direct, "failed_in_stream", "broken")),
    stranger: await failure(() => ask(direct.withOptions({ apiKey: "nobody" }), "answer")),
    embeddings: await failure(() => direct.embeddings.create({ model: "auto", input: "x" })),
    lost: (await ask(shaky, "lost")).choices[0].message.content,
    cut: await failure(() => streamed(shaky, "cut", "seeing")),
  }),
);
