// The Node side of a BullMQ queue: takes one command a line as JSON, answers each with a line, and says what its worker ran.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [, , home, port, name] = process.argv;
const require = createRequire(`${home}/`);
const { Queue, Worker, defaultRepeatStrategy } = require("bullmq");

const connection = { host: "127.0.0.1", port: Number(port), maxRetriesPerRequest: null };
const queue = new Queue(name, { connection });
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const shown = (job) =>
  job && { id: job.id, name: job.name, data: job.data, failedReason: job.failedReason, returnvalue: job.returnvalue };
let worker;

const next = ({ pattern, tz, from, count }) => {
  const found = [];
  for (let at = from; found.length < count; found.push(at)) {
    at = defaultRepeatStrategy(at, { pattern, tz });
  }
  return found;
};

const commands = {
  hello: async () => true,
  add: async ({ task, data, options }) => shown(await queue.add(task, data, options)),
  job: async ({ id }) => shown(await queue.getJob(id)) ?? null,
  state: async ({ id }) => queue.getJobState(id),
  schedule: async ({ id, repeat, task, data }) => shown(await queue.upsertJobScheduler(id, repeat, { name: task, data })),
  schedulers: async () => queue.getJobSchedulers(),
  next: async ({ cases }) => cases.map(next),
  work: async ({ fails }) => {
    const run = async (job) => {
      say({ ran: job.name, data: job.data, id: job.id });
      if (fails) throw new Error(fails);
    };
    worker = new Worker(name, run, { connection });
    await worker.waitUntilReady();
    return true;
  },
  rest: async () => (await worker.close(), true),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { say: command, ...words } = JSON.parse(line);
  try {
    say({ answer: await commands[command](words) });
  } catch (error) {
    say({ error: String(error) });
  }
}
process.exit(0);
