"""
Models with recurrent states or special caches: other spellings of the same facts, and what is refused.
"""

import json

import pytest

import vllm_sizing as vs
from tests.architectures.recorded import DATA

GONE = object()
CHOOSES_NOWHERE = {
    "sparse_index_dim": 128, "sparse_num_index_heads": 4, "sparse_topk_blocks": 16, "sparse_block_size": 128
}  # fmt: skip


def recorded(family, number=0):
    return json.loads((DATA / f"{family}.json").read_text())["cases"][number]["config"]


def built(config, **changes):
    changed = {key: value for key, value in {**config, **changes}.items() if value is not GONE}
    return vs.model_from_config(changed, name="model")


REFUSED = [
    ("deepseek_v4", {"layer_types": ["full_attention"] * 61}, "layer_types"),
    ("deepseek_v4", {"compress_ratios": [4, 128]}, "compress_ratios"),
    ("deepseek_v4", {"compress_rates": {"compressed_sparse_attention": 8}}, "compress_rates.compressed_sparse"),
    ("deepseek_v4", {"rope_scaling": {"type": "yarn", "factor": 2**17}}, "max_position_embeddings"),
    ("falcon_h1", {"mamba_n_heads": 7}, "mamba_n_heads"),
    ("granite_hybrid", {"layer_types": ["conv"] * 10}, "layer_types"),
    ("granite_hybrid", {"mamba_n_heads": 7}, "mamba_n_heads"),
    ("kimi_linear", {"mla_use_nope": False}, "mla_use_nope"),
    ("kimi_linear", {"linear_attn_config": {"head_dim": 128}}, "linear_attn_config.kda_layers"),
    ("lfm2", {"block_ffn_dim_multiplier": -1.0}, "block_ffn_dim_multiplier"),
    ("minimax_m3", {"text_config": {"moe_layer_freq": [1]}}, "moe_layer_freq"),
    ("minimax_m3", {"text_config": {"num_key_value_heads": 8}}, "sparse_num_index_heads"),
    ("nemotron_h", {"layers_block_type": ["conv"] * 7}, "layers_block_type"),
    ("longcat_ngram", {"emb_neighbor_num": 1}, "emb_neighbor_num"),
    ("nemotron_h", {"mtp_layers_block_type": ["mamba", "moe"]}, "mtp_layers_block_type"),
    ("nemotron_h", {"mamba_ssm_cache_dtype": "int8"}, "mamba_ssm_cache_dtype"),
    ("nemotron_nas", {"block_configs": []}, "block_configs"),
    ("step3p5", {"layer_types": ["full_attention"]}, "layer_types"),
    ("step3p5", {"moe_layers_enum": "two,three"}, "moe_layers_enum"),
    ("step3p5", {"rope_theta": [10000.0]}, "rope_theta"),
    ("step3_text", {"moe_layers_enum": ["two"]}, "moe_layers_enum"),
    ("zamba2", {"num_attention_heads": 3}, "num_attention_heads"),
    ("zamba2", {"n_mamba_heads": 7}, "n_mamba_heads"),
]


@pytest.mark.parametrize(("family", "changes", "names"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_vllm_would_not_build_is_refused_by_name(family, changes, names):
    config = recorded(family)
    if "text_config" in changes:
        changes = {"text_config": {**config["text_config"], **changes["text_config"]}}
    with pytest.raises(vs.ConfigError, match=names):
        built(config, **changes)


@pytest.mark.parametrize(
    ("part", "block", "names"),
    [
        ("attention", {"n_heads_in_group": 3}, "n_heads_in_group"),
        ("attention", {"n_heads_in_group": None, "replace_with_linear": True}, "replace_with_linear"),
        ("ffn", {"ffn_mult": None, "replace_with_linear": True}, "replace_with_linear"),
        ("ffn", {"ffn_mult": 0.0}, "ffn_mult"),
    ],
)  # fmt: skip
def test_a_block_that_vllm_does_not_know_is_refused(part, block, names):
    config = recorded("nemotron_nas")
    first, *others = config["block_configs"]
    with pytest.raises(vs.ConfigError, match=rf"block_configs\[0\].*{names}"):
        built(config, block_configs=[{**first, part: block}, *others])


def test_a_mixer_whose_heads_do_not_make_its_width_is_refused():
    config = next(
        case["config"]
        for case in json.loads((DATA / "mamba.json").read_text())["cases"]
        if case["config"]["model_type"] == "mamba2"
    )
    with pytest.raises(vs.ConfigError, match="num_heads"):
        built(config, num_heads=33)


STEP = {"rope_theta": GONE, "partial_rotary_factors": GONE, "rope_scaling": GONE, "yarn_only_types": GONE}
SPELLINGS = [
    ("lfm2", {"layer_types": GONE, "full_attn_idxs": [2, 5, 8, 10, 12, 14]}),
    ("lfm2", {"block_auto_adjust_ff_dim": False, "block_ff_dim": 4608}),
    ("nemotron_nas", "widths"),
    ("step3p5", {"moe_layers_enum": GONE, "mlp_layer_types": ["dense"] * 2 + ["sparse"] * 6 + ["dense"]}),
    ("step3p5", {"attention_other_setting": GONE, "num_sliding_attention_heads": 24}),
    ("step3p5", "split"),
    ("step3_text", {"moe_layers_enum": [2, 3, 4]}),
    ("granite_hybrid", "older"),
    ("deepseek_v4", "older"),
]


@pytest.mark.parametrize(("family", "changes"), SPELLINGS, ids=lambda value: str(value)[:30])
def test_another_spelling_is_the_same_model(family, changes):
    config = recorded(family)
    if changes == "widths":
        widths = {2.625: 1792, 5.25: 3584, 1.0: 768, 0.5: 512}
        blocks = [
            {**block, "ffn": {"intermediate_size": widths[block["ffn"]["ffn_mult"]]}} if block["ffn"]["ffn_mult"]
            else block
            for block in config["block_configs"]
        ]  # fmt: skip
        changes = {"block_configs": blocks}
    elif changes == "split":
        kinds = config["layer_types"]
        changes = {"layer_types": kinds[:8], "mtp_layer_types": kinds[8:]}
    elif changes == "older" and family == "granite_hybrid":
        changes = {"layer_types": GONE, "layers_block_type": config["layer_types"]}
    elif changes == "older":
        kinds = {0: "sliding_attention", 4: "compressed_sparse_attention", 128: "heavily_compressed_attention"}
        changes = {
            "compress_ratios": GONE,
            "layer_types": [kinds[ratio] for ratio in config["compress_ratios"][: config["num_hidden_layers"]]],
            "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128},
        }
    one, other = built(config), built(config, **changes)
    assert one.tensors == other.tensors
    assert one.cache_layers == other.cache_layers
    assert one.draft == other.draft


def test_nested_rotary_settings_count_per_layer_type():
    config = recorded("step3p5")
    kinds = {"full_attention": {"rope_type": "default", "rope_theta": 5e6, "partial_rotary_factor": 0.5},
             "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}  # fmt: skip
    model = built(config, **STEP, rope_parameters=kinds)
    tables = [tensor.shape for tensor in model.tensors if tensor.name.endswith("cos_sin_cache")]
    assert sorted(tables) == [(262144, 64), (262144, 128)]


ABSENT = [
    ("deepseek_v4", {"n_shared_experts": 0}, "shared_experts"),
    ("deepseek_v4", {"topk_method": "greedy"}, "e_score_correction_bias"),
    ("deepseek_v4", {"num_hash_layers": 0}, "tid2eid"),
    ("deepseek_v4", {"compress_ratios": [128] * 62}, "indexer"),
    ("jamba", {"num_experts": 1}, "experts"),
    ("kimi_linear", {"linear_attn_config": GONE}, "in_proj"),
    ("kimi_linear", {"num_experts": GONE}, "experts"),
    ("kimi_linear", {"num_shared_experts": 0}, "shared_experts"),
    ("longcat_ngram", {"ngram_vocab_size_ratio": GONE}, "ngram"),
    ("nemotron_h", {"n_shared_experts": 0}, "shared_experts"),
    ("nemotron_h", {"layers_block_type": ["mamba"] * 7}, "experts"),
    ("nemotron_h", {"moe_latent_size": GONE}, "latent"),
    ("zamba2", {"layers_block_type": ["mamba"] * 12}, "shared_transformer"),
    ("nemotron_nas", "attention", "self_attn"),
    ("minimax_m3", {"sparse_attention_config": CHOOSES_NOWHERE, "num_mtp_modules": 0}, "index"),
    ("bailing_linear", {"layer_group_size": 0}, "query_key_value"),
    ("olmo_hybrid", {"layer_types": ["full_attention"] * 8}, "linear_attn"),
    ("lfm2", {"layer_types": ["conv"] * 16}, "self_attn"),
]


@pytest.mark.parametrize(("family", "changes", "part"), ABSENT, ids=lambda value: str(value)[:40])
def test_a_part_that_the_config_leaves_out_is_not_built(family, changes, part):
    config = recorded(family)
    if changes == "attention":
        changes = {"block_configs": [{**block, "attention": {"no_op": True}} for block in config["block_configs"]]}
    elif "text_config" in config:
        text = {key: value for key, value in {**config["text_config"], **changes}.items() if value is not GONE}
        changes = {"text_config": text}
    model = built(config, **changes)
    names = [tensor.name for tensor in model.tensors]
    assert names
    assert not any(part in name for name in names)


def test_a_config_without_draft_layers_has_no_draft():
    assert built(recorded("deepseek_v4"), num_nextn_predict_layers=0).draft is None
    assert built(recorded("step3p5"), num_nextn_predict_layers=0).draft is None


DEFAULTS = [
    ("deepseek_v4", {"compress_ratios": GONE}, {"compress_ratios": [128] * 2 + [128, 4] * 29 + [128, 0]}),
    ("olmo_hybrid", {"layer_types": GONE}, {"layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 2}),
    ("zamba2", {"layers_block_type": GONE}, {"layers_block_type": ["mamba"] * 6 + ["hybrid"] + ["mamba"] * 5}),
    ("step3_text", {"moe_layers_enum": GONE}, {"moe_layers_enum": "4"}),
    ("step3p5", {"moe_layers_enum": GONE}, {"moe_layers_enum": "3,4,5,6,7"}),
    ("bailing_linear", {"router_dtype": GONE}, {"router_dtype": "fp32"}),
    ("falcon_h1", {"mamba_d_head": "auto"}, {"mamba_d_head": 64}),
]


@pytest.mark.parametrize(("family", "silent", "spoken"), DEFAULTS, ids=lambda value: str(value)[:30])
def test_what_a_config_does_not_say_is_its_class_default(family, silent, spoken):
    config = recorded(family)
    one, other = built(config, **silent), built(config, **spoken)
    assert one.tensors == other.tensors
    assert one.cache_layers == other.cache_layers
