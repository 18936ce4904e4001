// Ask through LangChain's client: node langchain_client.mjs URL PROXY KEY QUESTIONS, in a folder with its node_modules.
import { AIMessage, HumanMessage, SystemMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";

const [url, proxy, key] = process.argv.slice(2, 5);
const questions = JSON.parse(process.argv[5]);
const chat = (model = "plain", { base = url, apiKey = key, ...more } = {}) =>
  new ChatOpenAI({ model, apiKey, streamUsage: true, configuration: { baseURL: `${base}/v1` }, ...more });

async function streamed(name, model, base = url) {
  let text = "", finish = null, usage = null;
  for await (const chunk of await chat(model, { base }).stream(questions[name])) {
    text += chunk.content;
    finish = chunk.response_metadata?.finish_reason ?? finish;
    usage = chunk.usage_metadata?.total_tokens ?? usage;
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

const before = [new SystemMessage("Be short."), new HumanMessage("Hello"), new AIMessage("Hi")];
process.stdout.write(
  JSON.stringify({
    answer: (await chat().invoke([...before, new HumanMessage(questions.answer)])).content,
    stream: await streamed("stream", "technical-analysis"),
    unknown: await failure(() => chat("gpt-4o").invoke(questions.answer)),
    unsupported: await failure(() => chat("plain", { n: 2 }).invoke(questions.answer)),
    failed: await failure(() => chat("broken", { maxRetries: 1 }).invoke(questions.failed)),
    failed_in_stream: await failure(() => streamed("failed_in_stream", "broken")),
    stranger: await failure(() => chat("plain", { apiKey: "nobody" }).invoke(questions.answer)),
    lost: (await chat("plain", { base: proxy }).invoke(questions.lost)).content,
    cut: await failure(() => streamed("cut", "seeing", proxy)),
  }),
);
