"""A language model of the user's own, as a GGUF file, run by llama.cpp in a worker process."""
