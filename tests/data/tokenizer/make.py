"""Writes the small tokenizers beside it: `python3 make.py`. The merges are learnt from the text below;
cases.json has what huggingface/tokenizers makes of some texts with each of them."""
import collections
import json
import pathlib
import re

HERE = pathlib.Path(__file__).parent
TEXT = """The sequence model reads the text one token at a time and keeps a state of constant size.
When the state has seen the whole text, the model writes the next token, then the next one, and the
text that it writes is the text that it reads. It's a state space; they're the states of a sequence.
def forward(self, x):
    return self.norm(x) + 12 * x
café naïve 123 1234 you'll we've I'm he'd isn't  two  spaces   three    four """


def alphabet():
    bytes_ = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in bytes_}
    table.update({b: chr(256 + n) for n, b in enumerate(b for b in range(256) if b not in bytes_)})
    return table


TABLE = alphabet()


def learn(count):
    words = collections.Counter()
    for w in re.findall(r" ?\w+| ?[^\s\w]+|\s+", TEXT):
        words[tuple(TABLE[b] for b in w.encode())] += 1
    merges = []
    for _ in range(count):
        pairs = collections.Counter()
        for w, n in words.items():
            for pair in zip(w, w[1:]):
                pairs[pair] += n
        if not pairs:
            break
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        fresh = collections.Counter()
        for w, n in words.items():
            out = []
            for c in w:
                if out and (out[-1], c) == best:
                    out[-1] += c
                else:
                    out.append(c)
            fresh[tuple(out)] += n
        words = fresh
    return merges


MERGES = learn(160)


def token(id_, content, special=True, **flags):
    t = {"id": id_, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": not special, "special": special}
    return {**t, **flags}


def byte_level(prefix=False, regex=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def tokenizer(specials, normalizer, pre, post, pairs=False, added=(), **model):
    vocab = {s: i for i, s in enumerate(specials)}
    for c in sorted(TABLE.values()):
        vocab[c] = len(vocab)
    for a, b in MERGES:
        vocab.setdefault(a + b, len(vocab))
    tokens = [token(i, s) for i, s in enumerate(specials)]
    tokens += [token(len(vocab) + i, c, special=False, **flags) for i, (c, flags) in enumerate(added)]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens,
            "normalizer": normalizer, "pre_tokenizer": pre, "post_processor": post,
            "decoder": byte_level(True), "model": {
                "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                "end_of_word_suffix": None, "fuse_unk": False, "vocab": vocab,
                "merges": [[a, b] if pairs else f"{a} {b}" for a, b in MERGES], **model}}


NEOX = ["<|endoftext|>", "<|padding|>"]
SPACES = [(" " * n, {}) for n in (8, 4, 3, 2)]
LLAMA = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
template = {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {s: {"id": s, "ids": [i], "tokens": [s]} for i, s in enumerate(["<s>", "</s>"])}}
files = {
    "neox": tokenizer(NEOX, {"type": "NFC"}, byte_level(), byte_level(), added=SPACES),
    "flags": tokenizer(["<s>", "</s>"], {"type": "Sequence", "normalizers": [{"type": "NFD"}]},
                       byte_level(True), template,
                       added=[("<mask>", {"lstrip": True, "normalized": False}), ("<end>", {"rstrip": True}),
                              ("word", {"single_word": True}), ("café", {}), ("<both>", {"lstrip": True, "rstrip": True}),
                              ("<bo", {"normalized": False})]),
    "llama": tokenizer(NEOX, None, {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": LLAMA}, "behavior": "Isolated", "invert": False},
        byte_level(False, False)]}, None, pairs=True, ignore_merges=True),
    "digits": tokenizer(NEOX, {"type": "NFC"}, {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, byte_level(True)]}, byte_level()),
}
plain = {c: i for i, c in enumerate(["<unk>", *"abcdefgh ", *(f"<0x{b:02X}>" for b in "é".encode()), "ab", "abc", "de"])}
for name, flags in {"unknown": {"fuse_unk": True}, "bytes": {"byte_fallback": True}}.items():
    files[name] = {"version": "1.0", "added_tokens": [token(0, "<unk>")], "normalizer": None,
                   "pre_tokenizer": None, "post_processor": None, "decoder": None,
                   "model": {"type": "BPE", "unk_token": "<unk>", "vocab": plain,
                             "merges": ["a b", "ab c", "d e"], **flags}}
for name, content in files.items():
    (HERE / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")))
