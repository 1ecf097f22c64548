// The openai package talks over a socket of its own, with a key that it has made for it: with the ws package, or as
// browsers do (`browser`), which have no headers and offer the key as a subprotocol.
import { readFile } from 'node:fs/promises';
import OpenAI from 'openai';
import { OpenAIRealtimeWebSocket } from 'openai/realtime/websocket';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { obey, tell } from './peer.mjs';

const client = new OpenAI({ maxRetries: 0 });
const models = await client.models.list();
const secret = await client.realtime.clientSecrets.create({
  session: { type: 'realtime', model: 'gpt-realtime', instructions: 'Be brief.' },
});
tell('made', { models: models.data.map(({ id }) => id), secret: { ...secret, value: secret.value.slice(0, 3) } });

const Realtime = process.argv[2] === 'browser' ? OpenAIRealtimeWebSocket : OpenAIRealtimeWS;
const socket = new Realtime({ model: 'gpt-realtime' }, new OpenAI({ apiKey: secret.value }));
socket.on('error', (error) => tell('error', { message: error.message, code: error.error?.code }));
socket.on('event', (event) => tell('event', { event }));
socket.socket.addEventListener('close', ({ code }) => tell('closed', { code }));

obey({
  send: ({ event }) => socket.send(event),
  speak: async ({ file }) => {
    const pcm = await readFile(file);
    for (let start = 0; start < pcm.length; start += 9600) {
      socket.send({ type: 'input_audio_buffer.append', audio: pcm.subarray(start, start + 9600).toString('base64') });
    }
  },
  close: () => socket.close(),
});
