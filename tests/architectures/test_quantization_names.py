"""
Which modules the rules of a quantization config name, and that hostile rules stay cheap.
"""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.formats.names import (
    MAX_RULE_LENGTH,
    MAX_RULES,
    Patterns,
    compile_regexes,
    named,
    read_names,
    renamed,
)
from vllm_sizing.errors import ConfigError

QKV = ("q_proj", "k_proj", "v_proj")
LAYER = "model.layers.{}.self_attn.{}"


def layer_name(layer, module="self_attn.q_proj"):
    return f"model.layers.{layer}.{module}"


def test_a_prefix_is_renamed_once_and_others_are_left():
    prefixes = (("model.visual.", "visual."), ("model.language_model.", "language_model.model."))
    assert renamed("model.visual.blocks.0.qkv", prefixes) == "visual.blocks.0.qkv"
    assert renamed("model.language_model.norm", prefixes) == "language_model.model.norm"
    assert renamed("lm_head", prefixes) == "lm_head"


def test_prefixes_apply_in_turn():
    assert renamed("a.x", (("a.", "b."), ("b.", "c."))) == "c.x"


def test_a_fused_layer_is_named_by_all_its_parts():
    names = Patterns(exact=[LAYER.format(0, part) for part in QKV])
    assert named(LAYER.format(0, "qkv_proj"), QKV, names.match)
    assert not named(LAYER.format(1, "qkv_proj"), QKV, names.match)


def test_a_fused_layer_may_be_named_itself():
    names = Patterns(exact=[LAYER.format(0, "qkv_proj")])
    assert named(LAYER.format(0, "qkv_proj"), QKV, names.match)


def test_some_parts_of_a_fused_layer_are_refused():
    names = Patterns(exact=[LAYER.format(0, "q_proj")])
    with pytest.raises(ConfigError, match="some but not all of q_proj, k_proj, v_proj"):
        named(LAYER.format(0, "qkv_proj"), QKV, names.match)


@pytest.mark.parametrize(
    ("rules", "name", "expected"),
    [
        ({"parts": ["model.layers.1"]}, "model.layers.10.mlp", True),
        ({"parts": ["layers.1."]}, "model.layers.10.mlp", False),
        ({"globs": ["model.layers.1.*"]}, "model.layers.1.mlp.gate", True),
        ({"globs": ["model.layers.1.*"]}, "model.layers.10.mlp.gate", False),
        ({"globs": ["*.mlp.gate"]}, "model.layers.10.mlp.gate", True),
        ({"globs": ["*layers.?.mlp*"]}, "model.layers.10.mlp.gate", False),
        ({"globs": ["*layers.[0-3].mlp*"]}, "model.layers.2.mlp.gate", True),
        ({"regexes": [r".*mlp\.(gate|up)_proj"]}, "model.layers.0.mlp.up_proj", True),
        ({"regexes": [r"mlp.*"]}, "model.layers.0.mlp.up_proj", False),
        ({"regexes": [r"(?i:.*MLP).*", r".*attn$"]}, "model.layers.0.mlp", True),
        ({"regexes": [r"^(?!.*experts).*$"]}, "model.layers.0.mlp.experts", False),
        ({"regexes": [r".*model.*layers.*self_attn.*q_proj.*"]}, "model.layers.0.self_attn.q_proj", True),
        ({"regexes": [r".*layers.*k_proj$"]}, "model.layers.0.self_attn.k_proj.lora", False),
        ({"regexes": ["(?P<a>x)", "(?P<a>model).*"]}, "model.norm", True),
        ({}, "model.norm", False),
    ],
)
def test_rules_match_as_vllm_matches_them(rules, name, expected):
    assert Patterns(**rules).match(name) is expected


@pytest.mark.parametrize(
    "regex",
    [r".*self_attn.*", r".*mlp\.(gate|up|gate_up|down)_proj.*", r"^mtp.*", r".*mlp.gate$", r".*w1.*", "re.+x"],
)
def test_a_rule_without_numbers_treats_layers_alike(regex):
    assert not Patterns(regexes=[regex]).varies


@pytest.mark.parametrize("regex", [r".*layers\.0\..*", r".*layers\..\.mlp", r".*\d.*", r".*[ab].*", r"x{1}"])
def test_a_rule_that_could_see_the_number_tells_layers_apart(regex):
    assert Patterns(regexes=[regex]).varies


@given(
    st.sampled_from((r".*self_attn.*", r".*mlp.gate$", r"^model.*down_proj", r".*(q|k|v)_proj", r".*layers.+gate")),
    st.sampled_from(("self_attn.q_proj", "mlp.gate", "mlp.down_proj", "mlp.experts")),
    st.integers(0, 200),
)
def test_layer_blind_rules_decide_alike_for_every_layer(regex, module, layer):
    patterns = Patterns(regexes=[regex])
    assert not patterns.varies
    assert patterns.match(layer_name(0, module)) == patterns.match(layer_name(layer, module))


@given(
    st.lists(
        st.sampled_from(("model", "layers", "mlp", "gate", "q_proj", r"\.", ".", "self_attn")), min_size=1, max_size=4
    ),
    st.sampled_from(("self_attn.q_proj", "mlp.gate", "mlp.gate.q_proj", "mlp.mlp.gate")),
    st.booleans(),
)
def test_the_cheap_spelling_matches_what_the_pattern_matches(words, module, anchored):
    """
    Patterns of words and ``.*`` are rewritten so that they never try twice; the language stays.
    """
    text = ".*".join(["", *words]) + ("$" if anchored else "")
    (pattern,) = compile_regexes([text])
    name = layer_name(7, module)
    assert bool(pattern.match(name)) == bool(re.match(text, name))


@pytest.mark.parametrize(
    "regex",
    ["(a+)+$", "(a*)*b", "(a|a)*b", "(.|.)" * 30, ".?" * 40 + "x", r"(\w+\.)*\w+$", ".*[ab]" * 8 + "x", "a{1,9}" * 9],
)
def test_a_pattern_that_could_take_for_ever_is_refused(regex):
    with pytest.raises(ConfigError, match="too costly"):
        compile_regexes([regex])


def test_many_costly_patterns_are_refused_together():
    with pytest.raises(ConfigError, match="too costly"):
        compile_regexes([f".*[a]{number}.*[b].*[c]x" for number in range(100)])


@pytest.mark.parametrize("regex", ["[", "(", "*", r"\g", "a{99999999999999}", "(" * 2000 + ")" * 2000])
def test_a_malformed_pattern_is_refused(regex):
    with pytest.raises(ConfigError, match="not a regular expression"):
        compile_regexes([regex])


def test_accepted_patterns_match_quickly():
    """
    The costliest patterns that are let through, on the names they like least.
    """
    patterns = compile_regexes([r".*[a-z]x.*[a-z]y.*z$", ".*a.*b.*c.*d.*e.*f.*g.*h$", r"(?:.*\.)?(?:.*\.)?w"])
    started = time.process_time()
    for pattern in patterns:
        pattern.match("abcdefg." * 16)
    assert time.process_time() - started < 1


def test_names_are_bounded():
    with pytest.raises(ConfigError, match="ignore"):
        read_names(Config({"ignore": ["x" * (MAX_RULE_LENGTH + 1)]}), "ignore")
    with pytest.raises(ConfigError, match="ignore"):
        read_names(Config({"ignore": ["x"] * (MAX_RULES + 1)}), "ignore")
    with pytest.raises(ConfigError, match="ignore"):
        read_names(Config({"ignore": ["x", 1]}), "ignore")
    assert read_names(Config({}), "ignore") == []
