// The openai package answers telephone calls: each webhook is verified, and the called number says what becomes of it.
import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { obey, takeWebhooks, tell } from './peer.mjs';

const client = new OpenAI({ maxRetries: 0 });
const calls = client.realtime.calls;
const tools = [
  {
    type: 'function',
    name: 'opening_hours',
    description: 'Say when somebody is there.',
    parameters: { type: 'object', properties: { day: { type: 'string' } }, required: ['day'] },
  },
];

await takeWebhooks(async (body, headers) => {
  const { type, data } = await client.webhooks.unwrap(body, headers);
  const to = data.sip_headers.find(({ name }) => name === 'To').value;
  tell('call', { type, id: data.call_id, to });
  if (to.includes('busy')) {
    await calls.reject(data.call_id, { status_code: 486 });
    return;
  }
  const transcription = { model: 'gpt-4o-mini-transcribe' };
  await calls.accept(data.call_id, { type: 'realtime', model: 'gpt-realtime', tools, audio: { input: { transcription } } });
  attach(data.call_id);
});

function attach(callID) {
  const socket = new OpenAIRealtimeWS({ callID }, client);
  socket.on('error', (error) => tell('error', { message: error.message }));
  socket.on('event', (event) => tell('event', { event }));
  socket.socket.on('close', (code, reason) => tell('closed', { code, reason: String(reason) }));
  socket.socket.on('open', () => socket.send({ type: 'response.create', response: { instructions: 'Greet the caller now.' } }));
  socket.on('response.function_call_arguments.done', ({ call_id }) => {
    socket.send({
      type: 'conversation.item.create',
      item: { type: 'function_call_output', call_id, output: 'from nine to five' },
    });
  });
  socket.on('response.done', ({ response }) => {
    if (response.output.some(({ type }) => type === 'function_call')) socket.send({ type: 'response.create' });
  });
}

obey({
  refer: ({ id, target_uri }) => calls.refer(id, { target_uri }),
  hangup: ({ id }) => calls.hangup(id),
  // What the API says of a call that is over.
  hangup_again: ({ id }) =>
    calls.hangup(id).catch(({ constructor, status, code }) => tell('thrown', { name: constructor.name, status, code })),
});
