"""
Which releases, GPUs and layouts load a GGUF file.
"""

import pytest

import vllm_sizing as vs
from tests.gguf_file import gguf_bytes, metadata_of, tensors_of
from vllm_sizing.errors import UnsupportedError
from vllm_sizing.sources.gguf import gguf_facts, parse_gguf


def planned(kind="llama", *, version="0.23.0", gpu="l40s", tensors=None, **options):
    data = gguf_bytes(metadata_of(kind), tensors or tensors_of(kind))
    facts = gguf_facts(parse_gguf(data, where="x"), name="x.gguf", where="x")
    args = vs.EngineArgs(**options)
    number = options.get("tensor_parallel_size", 1)
    model = vs.model_from_config(facts.config, name="x.gguf")
    return vs.plan(model, vs.find_gpu(gpu), num_gpus=number, engine_args=args, vllm_version=version)


@pytest.mark.parametrize("version", ["0.10.0", "0.12.0", "0.19.0", "0.23.0"])
def test_releases_that_load_such_files(version):
    plan = planned(version=version)

    assert plan.fits
    assert "gguf-kernels" in {finding.code for finding in plan.findings}


def test_the_method_may_be_named():
    assert planned(quantization="gguf").fits


@pytest.mark.parametrize(
    ("kind", "version", "tensors", "said"),
    [
        ("llama", "0.24.0", None, "plan for a release before 0.24.0, or give the model that the file was made from"),
        ("llama", "0.33.0", None, "leaves to vllm-gguf-plugin"),
        ("llama", "0.11.0", tensors_of(head="BF16"), "holds matrices of 16 bits, which vLLM loads from 0.12.0 on"),
        ("gemma3", "0.11.0", None, "is a Gemma3ForCausalLM, which vLLM loads from 0.12.0 on"),
        ("qwen2moe", "0.12.0", None, "with packed embeddings, which vLLM loads from 0.13.0 on"),
    ],
)
def test_releases_that_do_not(kind, version, tensors, said):
    with pytest.raises(UnsupportedError, match=said):
        planned(kind, version=version, tensors=tensors)


def test_qwen2_experts_with_plain_embeddings_load_earlier():
    assert planned("qwen2moe", version="0.12.0", tensors=tensors_of("qwen2moe", embed="F16")).fits


def test_blackwell_computes_in_float16():
    with pytest.raises(UnsupportedError, match="does not compute in with gguf"):
        planned(gpu="b200")

    assert planned(gpu="b200", dtype="float16").fits
    assert planned(gpu="b200", version="0.12.0").fits


def test_heads_of_a_plain_file_are_copied():
    plain = tensors_of(linear="F16", value="F16", down="F16", head="F16")

    assert planned(tensor_parallel_size=4, tensors=plain).fits


def test_packed_heads_are_not_copied():
    with pytest.raises(UnsupportedError, match="does not copy packed KV heads of a GGUF file"):
        planned(tensor_parallel_size=4)


def test_experts_are_not_spread_whole():
    with pytest.raises(UnsupportedError, match="experts of a GGUF file on the first rank only"):
        planned("qwen3moe", tensor_parallel_size=2, enable_expert_parallel=True)


def test_experts_need_an_older_transformers():
    assert "gguf-experts" in {finding.code for finding in planned("qwen3moe").findings}
    assert "gguf-experts" not in {finding.code for finding in planned().findings}
