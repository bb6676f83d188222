// BullMQ on Node, with the commands of __main__.py: node bullmq.mjs FOLDER URL COMMAND NUMBERS...
// FOLDER holds the node_modules in which bullmq is. Ids are given, of the length that all the others have.
import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const [folder, url, command, ...words] = process.argv.slice(2);
const numbers = words.map(Number);
const { Queue, Worker } = createRequire(join(folder, "any.js"))("bullmq");

const CONCURRENCY = 100;
const BULK = 100;
const LEAD_S = 4;
const at = new URL(url);
const connection = {
  host: at.hostname,
  port: Number(at.port || 6379),
  username: at.username || undefined,
  password: decodeURIComponent(at.password) || undefined,
  db: Number(at.pathname.slice(1) || 0),
  maxRetriesPerRequest: null,
};
const prefix = randomBytes(6).toString("hex");
let serial = 0;

const seconds = () => performance.now() / 1000;
const wall = () => (performance.timeOrigin + performance.now()) / 1000;
const rate = (jobs, began) => ({ rate: jobs / (seconds() - began) });
const say = (what) => new Promise((said) => process.stdout.write(what + "\n", said));

function entry(due, more = {}) {
  const jobId = prefix + String(serial++).padStart(12, "0");
  const opts = due === undefined ? { jobId } : { jobId, delay: Math.max(0, Math.ceil(1000 * (due - wall()))) };
  return { name: "noop", data: { userId: "123", ...more }, opts };
}

const add = (queue, { name, data, opts }) => queue.add(name, data, opts);

async function produced(emit) {
  const queue = new Queue("raw", { connection });
  await queue.waitUntilReady();
  const figures = await emit(queue);
  await queue.close();
  return figures;
}

const COMMANDS = {
  one_by_one: (jobs) =>
    produced(async (queue) => {
      await add(queue, entry());
      const began = seconds();
      for (let i = 1; i < jobs; i++) await add(queue, entry());
      return rate(jobs - 1, began);
    }),

  in_bulk: (jobs) =>
    produced(async (queue) => {
      await add(queue, entry());
      const began = seconds();
      for (let left = jobs - 1; left > 0; left -= BULK)
        await queue.addBulk(Array.from({ length: Math.min(BULK, left) }, () => entry()));
      return rate(jobs - 1, began);
    }),

  steadily: (jobs, perSecond) =>
    produced(async (queue) => {
      const began = seconds();
      for (let i = 0; i < jobs; i++) {
        const wait = began + i / perSecond - seconds();
        if (wait > 0) await sleep(1000 * wait);
        await add(queue, i >= Math.floor(jobs / 20) ? entry(undefined, { at: wall() }) : entry());
      }
      return rate(jobs, began);
    }),

  later: (jobs, within) =>
    produced(async (queue) => {
      const first = wall() + LEAD_S;
      const dues = Array.from({ length: jobs }, () => first + Math.random() * within);
      const began = seconds();
      for (let i = 0; i < jobs; i += BULK)
        await queue.addBulk(dues.slice(i, i + BULK).map((due) => entry(due, { at: due })));
      return rate(jobs, began);
    }),

  work: async (jobs, sleepMs, keeps) => {
    let left = jobs;
    let began;
    let cpu;
    const late = [];
    const figures = {};
    let isOver;
    const over = new Promise((resolve) => (isOver = resolve));
    const handle = async (job) => {
      if (began === undefined) [began, cpu] = [seconds(), process.cpuUsage()];
      if (job.data.at !== undefined) late.push(1000 * (wall() - job.data.at));
      if (sleepMs) await sleep(sleepMs);
      if (--left) return;
      Object.assign(figures, rate(jobs, began));
      const used = process.cpuUsage(cpu);
      figures.cpu_us = (used.user + used.system) / jobs;
      isOver();
    };
    const kept = keeps ? {} : { removeOnComplete: { count: 0 } };
    const worker = new Worker("raw", handle, { connection, concurrency: CONCURRENCY, ...kept });
    await worker.waitUntilReady();
    await say("ready");
    await over;
    await worker.close();
    if (late.length) {
      late.sort((a, b) => a - b);
      figures.p50_ms = late[Math.floor(late.length / 2)];
      figures.p99_ms = late[Math.floor(0.99 * late.length)];
      figures.earliest_ms = late[0];
    }
    return figures;
  },
};

await say(JSON.stringify(await COMMANDS[command](...numbers)));
process.exit(0);
