"""
Small GGUF files, written from the format's description alone.
"""

import math
import struct

TYPES = {
    "F32": (0, 1, 4), "F16": (1, 1, 2), "BF16": (30, 1, 2), "Q4_0": (2, 32, 18), "Q8_0": (8, 32, 34),
    "Q4_K": (12, 256, 144), "Q6_K": (14, 256, 210), "IQ4_XS": (23, 256, 136), "MXFP4": (39, 32, 17),
}  # fmt: skip


def stored_bytes(kind, shape):
    _, block, size = TYPES[kind]
    return math.prod(shape) // block * size


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def value_bytes(value):
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if value and isinstance(value[0], int):
        return struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)
    return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))


def gguf_bytes(metadata, tensors, *, version=3, magic=b"GGUF"):
    """
    A file whose data are zeros; tensors: name -> (type, shape as torch has it).
    """
    out = magic + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        out += text(key) + value_bytes(value)
    offset = 0
    for name, (kind, shape) in tensors.items():
        out += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *reversed(shape))
        out += struct.pack("<IQ", TYPES[kind][0], offset)
        offset += stored_bytes(kind, shape)
    return out + bytes(-len(out) % 32 + offset)


SIZES = {"hidden": 256, "heads": 4, "kv_heads": 2, "head_dim": 128, "width": 512, "layers": 2, "vocab": 320}


def metadata_of(kind="llama", changed=None):
    """
    What llama.cpp writes for a small decoder.
    """
    found = {
        "general.architecture": kind,
        "general.name": "tiny",
        f"{kind}.context_length": 4096,
        f"{kind}.block_count": SIZES["layers"],
        f"{kind}.embedding_length": SIZES["hidden"],
        f"{kind}.feed_forward_length": SIZES["width"],
        f"{kind}.attention.head_count": SIZES["heads"],
        f"{kind}.attention.head_count_kv": SIZES["kv_heads"],
        f"{kind}.rope.freq_base": 10000.0,
        f"{kind}.attention.layer_norm_rms_epsilon": 1e-6,
        "tokenizer.ggml.tokens": [f"t{number}" for number in range(SIZES["vocab"])],
        "tokenizer.ggml.scores": [0] * SIZES["vocab"],
    }
    if kind in {"qwen3moe", "gemma3"}:
        found[f"{kind}.attention.key_length"] = SIZES["head_dim"]
    if kind == "gemma3":
        found["gemma3.attention.sliding_window"] = 512
    if kind == "llama":
        found["llama.rope.dimension_count"] = SIZES["head_dim"]
    if kind.endswith("moe"):
        found |= {f"{kind}.expert_count": 4, f"{kind}.expert_used_count": 2}
    return found | (changed or {})


def tensors_of(kind="llama", *, linear="Q4_K", value="Q6_K", down="Q6_K", embed="Q4_K", head="Q6_K", experts=256):
    """
    The tensors of such a model; ``head=None``: tied.
    """
    hidden, width, vocab = SIZES["hidden"], SIZES["width"], SIZES["vocab"]
    size = SIZES["head_dim"] if kind in {"llama", "qwen3", "qwen3moe", "gemma3"} else hidden // SIZES["heads"]
    q, kv = SIZES["heads"] * size, SIZES["kv_heads"] * size
    found = {"token_embd.weight": (embed, (vocab, hidden)), "output_norm.weight": ("F32", (hidden,))}
    if head is not None:
        found["output.weight"] = (head, (vocab, hidden))
    for at in range(SIZES["layers"]):
        layer = {
            "attn_norm": ("F32", (hidden,)),
            "ffn_norm": ("F32", (hidden,)),
            "attn_output": (linear, (hidden, q)),
        }
        if kind == "phi3":
            layer |= {"attn_qkv": (linear, (q + 2 * kv, hidden)), "ffn_up": (linear, (2 * width, hidden))}
        else:
            layer |= {
                "attn_q": (linear, (q, hidden)),
                "attn_k": (linear, (kv, hidden)),
                "attn_v": (value, (kv, hidden)),
            }
        if kind.endswith("moe"):
            layer |= {
                "ffn_gate_inp": ("F32", (4, hidden)),
                "ffn_gate_exps": (linear, (4, experts, hidden)),
                "ffn_up_exps": (linear, (4, experts, hidden)),
                "ffn_down_exps": (down, (4, hidden, experts)),
            }
        elif kind != "phi3":
            layer |= {"ffn_gate": (linear, (width, hidden)), "ffn_up": (linear, (width, hidden))}
        if kind == "qwen2moe":
            layer |= {
                "ffn_gate_inp_shexp": ("F32", (hidden,)),
                "ffn_gate_shexp": (linear, (width, hidden)),
                "ffn_up_shexp": (linear, (width, hidden)),
                "ffn_down_shexp": (down, (hidden, width)),
            }
        if not kind.endswith("moe"):
            layer["ffn_down"] = (down, (hidden, width))
        if kind in {"qwen3", "qwen3moe", "gemma3"}:
            layer |= {"attn_q_norm": ("F32", (size,)), "attn_k_norm": ("F32", (size,))}
        if kind == "gemma3":
            layer |= {"post_attention_norm": ("F32", (hidden,)), "post_ffw_norm": ("F32", (hidden,))}
        found |= {f"blk.{at}.{name}.weight": tensor for name, tensor in layer.items()}
        if kind in {"qwen2", "qwen2moe"}:
            found |= {
                f"blk.{at}.attn_{part}.bias": ("F32", (width_of,))
                for part, width_of in (("q", q), ("k", kv), ("v", kv))
            }
    return found
