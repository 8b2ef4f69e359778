#!/usr/bin/env python3
"""Writes the seeds that were made by hand into corpus/: python3 make_seeds.py"""
import io
import json
import os
import struct
import warnings
import zipfile

here = os.path.dirname(os.path.abspath(__file__))


def put(target, name, data):
    folder = os.path.join(here, "corpus", target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())


def safetensors(header, data):
    text = header
    if not isinstance(header, bytes):
        text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def make_safetensors():
    def seed(name, header, data):
        put("safetensors", name, safetensors(header, data))

    seed("floats", {"b": tensor("F32", [2, 1], 8, 16), "a": tensor("F64", [], 0, 8)},
         struct.pack("<dff", 0.5, 1.5, float("nan")))
    seed("halves", {"h": tensor("F16", [2], 0, 4), "g": tensor("BF16", [1, 2], 4, 8)},
         bytes([0, 60, 1, 0, 128, 63, 255, 255]))
    sizes = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1,
             "BOOL": 1}
    header, at = {}, 0
    for dtype, size in sizes.items():
        header[dtype] = tensor(dtype, [1], at, at + size)
        at += size
    seed("integers", header, bytes([255] * at))
    seed("metadata", {"__metadata__": {"format": "pt", "": "\u20ac\n"},
                      "x": tensor("U8", [0, 7], 0, 0)}, b"")
    seed("escapes", b'{ "a\\u00e9\\ud83d\\ude00\\"\\\\\\/\\b\\f\\n\\r\\t" :\t{"shape":[ 1 , '
         b'2 ],\r\n"data_offsets":[0,2],"dtype":"I8"} }   ', b"ab")
    seed("unaligned", {"a": tensor("U8", [1], 0, 1), "b": tensor("F32", [1], 1, 5)}, b"12345")
    seed("empty", {}, b"")
    seed("rank_8", {"r": tensor("U8", [1] * 8, 0, 1)}, b"1")
    seed("trailing", {"a": tensor("F32", [1], 0, 4)}, b"12345678")
    seed("hole", {"a": tensor("U8", [1], 0, 1), "b": tensor("U8", [1], 2, 3)}, b"123")
    seed("overlap", {"a": tensor("U8", [2], 0, 2), "b": tensor("U8", [2], 1, 3)}, b"123")
    seed("wrap", {"a": tensor("F32", [1 << 62, 4], 0, 0)}, b"")
    seed("twice", b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
         b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1")


def make_index():
    def seed(name, index):
        put("sharded_index", name, index if isinstance(index, str) else json.dumps(index))

    good = {"a": "one", "b": "one", "c": "two", "d": "two"}
    seed("good", {"metadata": {"total_size": 4}, "weight_map": good})
    seed("one_shard", {"weight_map": {"c": "two", "d": "two"}})
    seed("by_link", {"metadata": {}, "weight_map": {"c": "link", "d": "link"}})
    seed("twice", {"weight_map": dict(good, c="link", d="link", a="two")})
    seed("out", {"weight_map": {"x": "out"}})
    seed("up", {"weight_map": {"x": "../outside/x"}})
    seed("sub", {"weight_map": {"x": "sub/in"}})
    seed("no_map", {"weight_map": [1, None, True, 1.5e3, "\u20ac"]})
    seed("wrong_size", {"metadata": {"total_size": 1e300}, "weight_map": good})
    seed("bare_words", '{"metadata":{"total_size":NaN,"x":[-Infinity,Infinity]},"weight_map":{}}')


def make_config():
    def seed(name, config):
        put("config", name, config if isinstance(config, str) else json.dumps(config))

    seed("mamba", {"d_model": 8, "n_layer": 1, "vocab_size": 9, "pad_vocab_size_multiple": 4,
                   "d_intermediate": 4, "rms_norm": True, "tie_embeddings": False,
                   "attn_layer_idx": [], "ssm_cfg": {"layer": "Mamba1", "d_state": 2, "d_conv": 3,
                                                     "expand": 2, "dt_rank": "auto", "bias": True}})
    seed("mamba_hf", {"model_type": "mamba", "hidden_size": 8, "num_hidden_layers": 1,
                      "vocab_size": 9, "state_size": 2, "conv_kernel": 2, "expand": 1.5,
                      "time_step_rank": 3, "hidden_act": "silu", "layer_norm_epsilon": 1e-5})
    seed("itransformer", {"model": "itransformer", "seq_len": 8, "pred_len": 4, "d_model": 8,
                          "n_heads": 2, "e_layers": 1, "d_ff": 8, "activation": "gelu",
                          "use_norm": 1, "dropout": 0.1})
    seed("itransformer_tslib", {"task_name": "classification", "seq_len": 4, "d_model": 4,
                                "n_heads": 1, "e_layers": 1, "d_ff": 4, "num_class": 3,
                                "enc_in": 2})
    seed("informer", {"model": "informer", "seq_len": 8, "label_len": 4, "pred_len": 4, "enc_in": 2,
                      "dec_in": 2, "c_out": 2, "d_model": 8, "n_heads": 2, "e_layers": 2,
                      "d_layers": 1, "d_ff": 8, "factor": 3, "attn": "prob", "embed": "timeF",
                      "freq": "h", "distil": True, "mix": False, "padding": 1})
    seed("informer_stack", {"model": "informerstack", "s_layers": "2, 1", "d_model": 4,
                            "n_heads": 1, "d_ff": 4, "attn": "full", "embed": "learned",
                            "freq": "15min"})
    seed("informer_tslib", {"model": "informer_tslib", "task_name": "imputation", "seq_len": 8,
                            "d_model": 4, "n_heads": 2, "d_ff": 4, "embed": "fixed", "freq": "t"})
    seed("mossformer2", {"layout": "clearervoice_ss", "num_spks": 2, "encoder_embedding_dim": 16,
                         "mossformer_sequence_dim": 16, "num_mossformer_layer": 1,
                         "encoder_kernel_size": 4, "group_size": 8, "query_key_dim": 4,
                         "inner_channels": 4, "lorder": 2, "norm": "gln", "expansion_factor": 4.0})
    seed("mossformer2_standalone", {"masknet_numspks": 2, "encoder_out_nchannels": 16,
                                    "intra_numlayers": 1, "masknet_numlayers": 1,
                                    "masknet_useextralinearlayer": True, "inner_channels": 4})
    seed("mossformer2_se48k", {"layout": "clearervoice_se48k", "in_channels": 6, "out_channels": 8,
                               "out_channels_final": 5, "num_blocks": 1, "norm": "cln"})
    seed("time_moe", {"input_size": 1, "hidden_size": 8, "intermediate_size": 8,
                      "horizon_lengths": [1, 8], "num_hidden_layers": 1, "num_attention_heads": 2,
                      "num_key_value_heads": 1, "num_experts": 4, "num_experts_per_tok": 2,
                      "hidden_act": "silu", "apply_aux_loss": True, "use_dense": False,
                      "rope_theta": 10000, "max_position_embeddings": 64})
    seed("time_moe_dense", {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
                            "num_attention_heads": 1, "use_dense": True, "apply_aux_loss": False})
    seed("values", '\ufeff{"n":null,"x":[NaN,-Infinity,Infinity],"s":"\\u0001NaN\\ud83d\\ude00",'
         '"i":9223372036854775808,"d":1e-400,"o":{"p":{"q":[[]]}},"b":[true,false]}')
    seed("twice", '{"d_model":1,"d_model":2}')


def make_csv():
    seeds = {
        "dates": "date,HUFL,OT\n2016-07-01 00:00:00,5.827,-30.5\n2016-07-01 01:00:00,1e-3,+7\n",
        "numbers": "x,y\r\n1,2\r\n3,4\r\n\r\n",
        "quotes": '\ufeff"date","a,""b"""," c "\n"2016/7/1 5:30","1",2',
        "gaps": "date,a,b\n2020-02-29,,nan\n2020-03-01T05:30,NaN,NA\n",
        "text": "name,v\none,1\ntwo,2\n",
        "dates_only": "date\n2016-07-01\n2016-07-02\n",
        "no_rows": "date,y\n",
        "ragged": "date,a,b\nx,1,2\ny,1\n",
        "decimal_comma": "date;a\n01.07.2016;1,5\n",
        "huge": "a\n1e308\n1e400\n",
        "nul": "date,a\nx,1\0\n",
        "no_header": "1,2\n3,4\n",
        "unclosed": 'date,a\nx,"1\n',
    }
    for name, text in seeds.items():
        put("csv", name, text)


def make_npy():
    def seed(name, dictionary, data, major=1):
        header = dictionary.encode() + b"\n"
        length = struct.pack("<H" if major == 1 else "<I", len(header))
        put("npy", name, b"\x93NUMPY" + bytes([major, 0]) + length + header + data)

    def array(descr, shape, order="False"):
        return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"

    six = struct.pack("<6f", *range(6))
    for major in (1, 2, 3, 9):
        seed(f"version_{major}", array("'<f4'", "(2, 3)"), six, major)
    seed("fortran", array("'<f4'", "(2, 1, 3)", "True"), six)
    seed("other_order", "{\"shape\":(6L,),'fortran_order':False,'descr':\"<f4\"}", six)
    for descr in ("<f8", "<f2", "<i8", "<i2", "|i1", "<u8", "|u1", "|b1"):
        seed("type_" + descr[1:], array(f"'{descr}'", "(1, 1)"), bytes([1] * int(descr[2])))
    seed("scalar", array("'<i4'", "()"), bytes(4))
    seed("empty", array("'<i4'", "(0, 9223372036854775807)"), b"")
    seed("wraps", array("'<f4'", "(4611686018427387904, 4, 6)"), six)
    seed("objects", array("'|O'", "(6,)"), six)
    seed("big_endian", array("'>f4'", "(6,)"), six)
    seed("structured", array("[('a', '<f4')]", "(6,)"), six)
    seed("expression", array("__import__('os')", "(2*3,)"), six)


def make_npz():
    def npy(values):
        head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(values)},), }}\n".encode()
        data = struct.pack(f"<{len(values)}f", *values)
        return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + data

    def archive(name, members, method=zipfile.ZIP_STORED, piped=False, comment=b"", wide=False):
        class Pipe(io.BytesIO):  # cannot go back to write the sizes
            def seekable(self):
                return not piped

            def tell(self):
                if piped:
                    raise OSError
                return super().tell()

        out = Pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a name twice
            with zipfile.ZipFile(out, "w", method) as z:
                for member, data in members:
                    info = zipfile.ZipInfo(member)
                    info.compress_type = method
                    with z.open(info, "w", force_zip64=wide) as f:
                        f.write(data)
                z.comment = comment
        put("npz", name, out.getvalue())

    three = npy([1, 2, 3])
    archive("stored", [("x.npy", three), ("y.npy", npy([4]))])
    archive("deflated", [("x.npy", three), ("y.npy", npy([4]))], zipfile.ZIP_DEFLATED)
    archive("zeros", [("x.npy", npy([0] * 20000))], zipfile.ZIP_DEFLATED)
    archive("piped", [("x.npy", three)], zipfile.ZIP_DEFLATED, piped=True)
    archive("wide", [("x.npy", three)], wide=True)
    archive("lzma", [("x.npy", three)], zipfile.ZIP_LZMA)
    archive("comment", [("x.npy", three)], comment=b"PK\5\6 a note")
    archive("empty", [])
    archive("paths", [("../x.npy", three), ("/etc/y.npy", three), ("a/b.txt", b"text")])
    archive("twice", [("x.npy", three), ("x.npy", three)])
    archive("no_array", [("x.npy", b"text")])


def chunk(name, data):
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def fmt(tag, channels=1, bits=16, rate=8000, extra=b""):
    align = channels * bits // 8 & 0xFFFF
    head = struct.pack("<HHIIHH", tag, channels, rate, rate * align, align, bits)
    return chunk(b"fmt ", head + extra)


def riff(*chunks, name=b"RIFF"):
    body = b"WAVE" + b"".join(chunks)
    return name + struct.pack("<I", len(body)) + body


def make_wav():
    def seed(name, data):
        put("wav", name, data)

    ramp = bytes(range(48))
    seed("pcm16", riff(fmt(1), chunk(b"data", ramp)))
    seed("pcm8_stereo", riff(fmt(1, 2, 8, 16000), chunk(b"data", ramp)))
    seed("pcm24", riff(fmt(1, 1, 24, 48000), chunk(b"data", ramp)))
    seed("pcm32", riff(fmt(1, 1, 32), chunk(b"data", ramp)))
    seed("float", riff(fmt(3, 1, 32), chunk(b"fact", struct.pack("<I", 3)),
                       chunk(b"data", struct.pack("<fff", 0.5, -1.5, 1e-30))))
    seed("double_nan", riff(fmt(3, 1, 64), chunk(b"data", struct.pack("<dd", 1e300, float("nan")))))
    guid = bytes.fromhex("0100000000001000800000aa00389b71")
    seed("extensible", riff(fmt(0xFFFE, 2, 16, 44100, struct.pack("<HHI", 22, 16, 3) + guid),
                            chunk(b"data", ramp)))
    seed("alaw", riff(fmt(6, 1, 8, extra=b"\0\0"), chunk(b"data", ramp)))
    seed("mulaw", riff(fmt(7, 1, 8), chunk(b"data", ramp)))
    ima = chunk(b"fmt ", struct.pack("<HHIIHHHH", 0x11, 1, 8000, 4055, 36, 4, 2, 65))
    seed("ima_adpcm", riff(ima, chunk(b"fact", struct.pack("<I", 65)), chunk(b"data", ramp[:36])))
    coefficients = struct.pack("<14h", 256, 0, 512, -256, 0, 0, 192, 64, 240, 0, 460, -208, 392,
                               -232)
    head = struct.pack("<HHIIHHHHH", 2, 1, 8000, 4096, 32, 4, 32, 52, 7)
    ms = chunk(b"fmt ", head + coefficients)
    seed("ms_adpcm", riff(ms, chunk(b"data", b"\0" + ramp[:31])))
    gsm = chunk(b"fmt ", struct.pack("<HHIIHHHH", 0x31, 1, 8000, 1625, 65, 0, 2, 320))
    seed("gsm610", riff(gsm, chunk(b"data", ramp + ramp[:17])))
    seed("list", riff(fmt(1), chunk(b"LIST", b"INFOISFT\x04\0\0\0abc\0"), chunk(b"data", ramp)))
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 100, 48, 24, 0))
    seed("rf64", riff(ds64, fmt(1), b"data\xff\xff\xff\xff" + ramp, name=b"RF64"))
    seed("piped", b"RIFF\xff\xff\xff\xffWAVE" + fmt(1) + b"data\xff\xff\xff\xff" + ramp)
    seed("lying", riff(fmt(1, 65535, 16, 0), chunk(b"data", ramp)))
    seed("data_first", riff(chunk(b"data", ramp), fmt(1)))
    seed("au", struct.pack(">4sIIIII", b".snd", 24, 48, 3, 8000, 1) + ramp)
    aiff = struct.pack(">hIh", 1, 24, 16) + bytes.fromhex("400bfa00000000000000")
    aiff = b"COMM" + struct.pack(">I", 18) + aiff + b"SSND" + struct.pack(">III", 56, 0, 0) + ramp
    seed("aiff", b"FORM" + struct.pack(">I", 4 + len(aiff)) + b"AIFF" + aiff)


def make_tokenizer():
    def seed(name, **parts):
        put("tokenizer", name, json.dumps(parts))

    gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    head = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    tail = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokens = "<|endoftext|> \u0120 a c e f h T t s 1 2 3 \u0120t he".split(" ")
    vocab = {token: i for i, token in enumerate(tokens)}
    bpe = {"type": "BPE", "vocab": vocab, "merges": ["\u0120 t", ["h", "e"]]}
    added = [{"id": 0, "content": "<|endoftext|>", "special": True, "normalized": False},
             {"id": 90, "content": "caf\u00e9", "single_word": True, "lstrip": True,
              "rstrip": True}]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    seed("neox", model=bpe, added_tokens=added, normalizer={"type": "NFC"},
         pre_tokenizer=byte_level, decoder=byte_level, post_processor=byte_level)
    split = {"type": "Split", "pattern": {"Regex": head + r"\p{N}{1,3}" + tail},
             "behavior": "Isolated", "invert": False}
    template = {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
                           {"Sequence": {"id": "A", "type_id": 0}}],
                "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0]}}}
    seed("llama", model=dict(bpe, ignore_merges=True), added_tokens=added,
         pre_tokenizer={"type": "Sequence", "pretokenizers": [
             split, dict(byte_level, use_regex=False)]},
         post_processor={"type": "Sequence", "processors": [byte_level, template]},
         decoder=byte_level)
    split = dict(split, pattern={"Regex": gpt2}, behavior="Removed", invert=True)
    seed("split", model=bpe, pre_tokenizer={"type": "Sequence", "pretokenizers": [
        split, {"type": "Digits", "individual_digits": True}, {"type": "Digits"},
        dict(byte_level, use_regex=False, add_prefix_space=True)]})
    bytes_vocab = {"<0x%02X>" % b: b for b in range(0x60, 0x70)}
    seed("bytes", model={"vocab": dict(bytes_vocab, **{"<unk>": 200}), "merges": [],
                         "unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True})
    seed("unknown", model={"vocab": {"<unk>": 0, "a": 1}, "merges": ["#version: 0.2"],
                           "unk_token": "<unk>"})
    seed("normal", model={"vocab": {"e\u0301": 5, "\u00e9": 6, "x": 2147483647}, "merges": []},
         normalizer={"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "NFC"}]},
         added_tokens=[{"id": 7, "content": "\u00e9\u0323"}])
    seed("unsupported", model={"type": "Unigram", "vocab": [["a", -1.5]]})


def make_checkpoint():
    def seed(name, metadata=None, **changes):
        meta = {"format": "sequin.checkpoint", "version": "1", "scalar": "float",
                "is.d_model": "16", "is.note": 'a "b"\n'}
        parts = {
            "model.weight": ("F32", [2, 3], struct.pack("<6f", *range(6))),
            "model.running": ("F32", [2], struct.pack("<2f", 0.5, float("nan"))),
            "early_stopping.best": ("F64", [1], struct.pack("<d", 0.25)),
            "early_stopping.best_epoch": ("I64", [1], struct.pack("<q", 2)),
            "early_stopping.epoch": ("I64", [1], struct.pack("<q", 3)),
            "early_stopping.waited": ("I64", [1], struct.pack("<q", 1)),
            "generator": ("I64", [2], struct.pack("<2q", 7, -1)),
            "step": ("I64", [1], struct.pack("<q", 12)),
            "steps": ("I64", [2], struct.pack("<2q", 12, 0)),
            "loss": ("F64", [1], struct.pack("<d", float("inf"))),
            "history": ("F64", [2], struct.pack("<2d", 2.5, 1.5)),
        }
        parts.update(changes)
        header, data = {"__metadata__": dict(meta, **(metadata or {}))}, b""
        for key, (dtype, shape, part) in parts.items():
            header[key] = tensor(dtype, shape, len(data), len(data) + len(part))
            data += part
        put("checkpoint", name, safetensors(header, data))

    seed("good")
    seed("no_history", history=("F64", [0], b""))
    seed("long_history", history=("F64", [9], struct.pack("<9d", *range(9))))
    seed("negative", step=("I64", [1], struct.pack("<q", -1)))
    seed("other_version", {"version": "999"})
    seed("other_scalar", {"scalar": "double"})
    seed("other_config", {"is.d_model": "32"})
    seed("other_type", loss=("F32", [1], struct.pack("<f", 1)))
    seed("surplus", more=("U8", [1], b"1"))


def make_state():
    def seed(name, parts, of=""):
        header, data = {"__metadata__": {"format": "sequin.state", "version": "1", "state_of": of}}, b""
        for key, (dtype, shape, *values) in parts.items():
            count = 1
            for extent in shape:
                count *= extent
            if dtype == "F32":
                part = struct.pack(f"<{count}f", *(0.25 * i for i in range(count)))
            elif dtype == "BOOL":
                part = bytes(i % 2 for i in range(count))
            else:
                part = struct.pack("<q", *values)
            header[key] = tensor(dtype, shape, len(data), len(data) + len(part))
            data += part
        put("state", name, safetensors(header, data))

    def voices(filled, group):
        layer, flash = "model.layers.0.", "model.layers.0.flash."
        return {
            "model.samples": ("F32", [1, 2]), "model.overlap": ("F32", [1, 2, 2]),
            flash + "before": ("F32", [1, 1, 2]), flash + "to_hidden.tail": ("F32", [1, 16, 2]),
            flash + "to_qk.tail": ("F32", [1, 2, 2]), flash + "to_out.tail": ("F32", [1, 4, 2]),
            flash + "attention.keys": ("F32", [1, 2, 3]),
            flash + "attention.values": ("F32", [1, 3, 16]),
            flash + "attention.sum": ("F32", [1, 2, 16]),
            flash + "attention.memory": ("F32", [1, 2, 16]),
            flash + "attention.weight": ("F32", [1]),
            flash + "attention.filled": ("I64", [1], group),
            layer + "fsmn.to_u.tail": ("F32", [1, 4, 2]), layer + "fsmn.to_v.tail": ("F32", [1, 4, 2]),
            layer + "fsmn.fsmn.memory": ("F32", [1, 4, 1]),
            "waiting": ("F32", [2]), "ready": ("F32", [4]), "filled": ("I64", [1], filled),
        }

    def series(steps, mask=True):
        parts = {f"layers.0.{part}": ("F32", [2, 2, steps, 2]) for part in ("keys", "values")}
        return {**parts, "key_mask": ("BOOL", [2, steps])} if mask else parts

    mamba = {"layers.0.conv_state": ("F32", [1, 8, 4]), "layers.0.ssm_state": ("F32", [1, 8, 16])}
    seed("mamba", mamba)
    seed("mamba_other_batch", {k: (t, [2] + shape[1:]) for k, (t, shape) in mamba.items()})
    seed("mamba_other_weights", mamba, "other weights")
    seed("time_moe", series(2))
    seed("time_moe_long", series(9))
    seed("time_moe_empty", series(0, False))
    seed("voices", voices(1, 2))
    seed("voices_waiting_too_many", voices(2, 0))
    seed("voices_group_too_long", voices(0, 3))
    seed("voices_negative", voices(-1, -(1 << 63)))


make_safetensors()
make_index()
make_config()
make_csv()
make_npy()
make_npz()
make_wav()
make_tokenizer()
make_checkpoint()
make_state()
