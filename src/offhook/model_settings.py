"""From the settings of the server to the options of its models."""

from __future__ import annotations

from dataclasses import replace

from offhook.config import Config
from offhook.model.local.ear import EarOptions
from offhook.model.local.gguf.brain import CONTEXT_TOKENS, GgufOptions
from offhook.model.local.voice import VoiceOptions
from offhook.model.registry import EndpointOptions, ModelOptions
from offhook.model.relay import UpstreamOptions


def model_options(config: Config) -> ModelOptions:
    """Return the settings of the models."""

    def endpoint(url: str | None, model: str, key: str | None) -> EndpointOptions | None:
        return EndpointOptions(url, model, key, config.llm_seconds) if url is not None else None

    llm = endpoint(config.llm_url, config.llm_model, config.llm_key)
    if llm is not None:
        llm = replace(llm, sees=config.llm_sees, reasons=config.llm_reasons)
    return ModelOptions(
        which=config.models,
        llm=llm,
        gguf=_gguf_options(config),
        stt=endpoint(config.stt_url, config.stt_model, config.stt_key),
        tts=endpoint(config.tts_url, config.tts_model, config.tts_key),
        voice=config.tts_voice,
        rate_hz=config.tts_rate,
        names=dict(config.model_names),
        ear=EarOptions(config.whisper, config.stt_workers),
        speaker=VoiceOptions(config.voices),
        apology=config.apology,
        orders=config.orders,
        tables=config.backends,
        relay=_upstream(config),
    )


def _upstream(config: Config) -> UpstreamOptions | None:
    if config.relay_url is None:
        return None
    return UpstreamOptions(
        config.relay_url,
        config.relay_dialect,
        config.relay_model,
        config.relay_key,
        config.relay_seconds,
        config.relay_turns,
    )


def _gguf_options(config: Config) -> GgufOptions | None:
    if config.llm_gguf is None:
        return None
    return GgufOptions(config.llm_gguf, config.llm_threads, context_tokens(config), config.llm_seconds)


def context_tokens(config: Config) -> int:
    """Return what a conversation may fill of the model: of one on this machine no more than there is memory for."""
    most = [config.context_tokens]
    if config.llm_gguf is not None:
        most.append(CONTEXT_TOKENS)
    for table in filter(None, map(config.backends.get, config.llm)):
        if table.plugin == "gguf":
            size = table.options.get("context_tokens")
            most.append(size if isinstance(size, int) else CONTEXT_TOKENS)
    return min(most)
