"""Count a text's tokens, from stdin, as GPT-4o and later models do: ``python tokens.py``."""

import sys

import bpe_openai

sys.stdout.write(str(len(bpe_openai.get_encoding("o200k_base").encode(sys.stdin.read()))))
