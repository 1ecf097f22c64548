// Agents of the @openai/agents package: over a socket of their own, or (`sip`) attached to the calls of webhooks.
import { readFile } from 'node:fs/promises';
import { hostedMcpTool, setTracingDisabled } from '@openai/agents';
import { OpenAIRealtimeSIP, OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } from '@openai/agents/realtime';
import OpenAI from 'openai';
import { z } from 'zod';
import { obey, sockets, takeWebhooks, tell } from './peer.mjs';

setTracingDisabled(true);

const openingHours = tool({
  name: 'opening_hours',
  description: 'Say when somebody is there.',
  parameters: z.object({ day: z.string() }),
  execute: async ({ day }) => `from nine to five on ${day}`,
});
const billing = new RealtimeAgent({ name: 'Billing', instructions: 'You settle bills.' });
const customers = process.env.MCP_URL
  ? [hostedMcpTool({ serverLabel: 'crm', serverUrl: process.env.MCP_URL, requireApproval: 'always' })]
  : [];
const reception = new RealtimeAgent({
  name: 'Reception',
  instructions: 'You are the reception.',
  tools: [openingHours, ...customers],
  handoffs: [billing],
});

const wordsOf = ({ content }) => content.map((part) => part.text ?? part.transcript ?? '').join(' ').trim();
const approvals = [];

function watch(session) {
  session.on('transport_event', (event) => {
    if (event.type !== 'response.output_audio.delta') tell('event', { event });
  });
  session.on('audio', ({ data }) => tell('audio', { size: data.byteLength }));
  session.on('audio_interrupted', () => tell('audio_interrupted'));
  session.on('agent_tool_end', (_context, agent, { name }, result) => tell('tool_end', { agent: agent.name, name, result }));
  session.on('agent_handoff', (_context, from, to) => tell('handoff', { from: from.name, to: to.name }));
  session.on('mcp_tools_changed', (tools) => tell('mcp_tools', { names: tools.map(({ name }) => name) }));
  session.on('mcp_tool_call_completed', (_context, _agent, { name, output }) => tell('mcp_call', { name, output }));
  session.on('tool_approval_requested', (_context, _agent, { type, approvalItem }) => {
    approvals.push(approvalItem);
    tell('approval', { type, name: approvalItem.rawItem.name });
  });
  session.on('history_updated', (history) => {
    const messages = history.filter(({ type }) => type === 'message');
    tell('history', { said: messages.map((item) => [item.role, wordsOf(item)]) });
  });
  session.on('error', ({ error }) => tell('error', { message: JSON.stringify(error) + String(error) }));
  return session;
}

let session;
if (process.argv[2] === 'sip') {
  const client = new OpenAI({ maxRetries: 0 });
  const options = { model: 'gpt-realtime' };
  await takeWebhooks(async (body, headers) => {
    const { data } = await client.webhooks.unwrap(body, headers);
    await client.realtime.calls.accept(data.call_id, await OpenAIRealtimeSIP.buildInitialConfig(reception, options));
    session = watch(new RealtimeSession(reception, { transport: new OpenAIRealtimeSIP(), ...options }));
    session.transport.on('disconnected', () => tell('disconnected'));
    const url = `${sockets}?call_id=${data.call_id}`;
    await session.connect({ apiKey: client.apiKey, callId: data.call_id, url });
    session.transport.sendEvent({ type: 'response.create', response: { instructions: 'Greet the caller now.' } });
  });
} else {
  const transport = new OpenAIRealtimeWebSocket();
  session = watch(new RealtimeSession(reception, { transport, model: 'gpt-realtime', workflowName: 'reception' }));
  await session.connect({ apiKey: process.env.OPENAI_API_KEY, url: `${sockets}?model=gpt-realtime` });
  tell('connected');
}

obey({
  message: ({ text }) => session.sendMessage(text),
  // The package counts what was heard of an answer by the clock, so a caller has to listen before it interrupts.
  speak: async ({ file, listensMs = 0 }) => {
    const pcm = await readFile(file);
    await new Promise((resolve) => setTimeout(resolve, listensMs));
    for (let start = 0; start < pcm.length; start += 9600) {
      session.sendAudio(new Uint8Array(pcm.subarray(start, start + 9600)).buffer);
    }
  },
  approve: () => session.approve(approvals.shift()),
  reject: () => session.reject(approvals.shift()),
  interrupt: () => session.interrupt(),
  // Let the conversation have begun with another question, and have ended there.
  rewrite: ({ text }) => {
    session.updateHistory(([first]) => [{ ...first, content: [{ type: 'input_text', text }] }]);
  },
});
