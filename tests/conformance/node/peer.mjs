// What the programs share: they tell what happens in lines of JSON, and are told what to do in the same way.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

export const tell = (kind, members = {}) => console.log(JSON.stringify({ kind, ...members }));

/** Where sockets are opened: the SDKs take a whole address for them. */
export const sockets = `${process.env.OPENAI_BASE_URL.replace(/^http/, 'ws')}/realtime`;

/** Do what each line asks for; an end of lines ends the program. */
export function obey(commands) {
  const lines = createInterface({ input: process.stdin });
  lines.on('line', async (line) => {
    const { kind, ...members } = JSON.parse(line);
    try {
      await commands[kind](members);
      tell('did', { what: kind });
    } catch (error) {
      tell('failed', { what: kind, message: String(error) });
    }
  });
  lines.on('close', () => process.exit(0));
}

/** Take webhooks, and tell where. What `handle` throws is answered with 400. */
export async function takeWebhooks(handle) {
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    try {
      await handle(Buffer.concat(chunks).toString('utf8'), request.headers);
      response.writeHead(200).end();
    } catch (error) {
      tell('refused', { name: error.constructor.name, message: error.message });
      response.writeHead(400).end();
    }
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  tell('listening', { url: `http://127.0.0.1:${server.address().port}/` });
}
