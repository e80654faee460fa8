"""
Profiles: what is written is read again, by every YAML reader, and nothing else is.
"""

import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

import vllm_sizing as vs
from vllm_sizing.sources.profile import parse_profile, profile_text, read_profile

# Words that some YAML reader takes for something else than text.
TRAPS = ["1e3", "yes", "no", "on", "Off", "null", "~", "true", "0o17", "0x1f", "1_000", "12:30:45", "2026-01-01"]
TRAPS += [".inf", "-", "a: b", "# no", "'", '"', "&a", "*a", "!x", "%", "@", "`", " x ", "a\nb", "é", "\U0001f600"]


def requests():
    text = st.one_of(st.sampled_from(TRAPS), st.text(string.printable, min_size=1, max_size=30))
    scalars = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(-1e9, 1e9) | text
    objects = st.dictionaries(text, scalars | st.lists(scalars, max_size=3), max_size=3)
    counts = st.none() | st.integers(1, 1000)
    return st.builds(
        vs.PlanRequest,
        model=text,
        revision=st.none() | text,
        gpu=text,
        num_gpus=counts,
        memory_bytes=st.none() | st.integers(1, 2**40),
        params_b=st.none() | st.floats(0.1, 5000),
        workload=st.builds(
            vs.Workload,
            concurrency=st.integers(1, 10_000),
            request_rate=st.none() | st.floats(0.001, 1e6),
            target=st.builds(vs.LatencyTarget, ttft_ms=st.none() | st.floats(0.1, 1e6)),
        ),
        engine_args=st.builds(
            vs.EngineArgs,
            served_model_name=st.none() | text,
            max_num_seqs=counts,
            enforce_eager=st.none() | st.booleans(),
            gpu_memory_utilization=st.none() | st.floats(0.01, 1.0),
            speculative_config=st.none() | objects,
            cudagraph_capture_sizes=st.none() | st.lists(st.integers(1, 512), min_size=1, max_size=3),
            extra_args=st.lists(text, max_size=3),
        ),
        policy=st.builds(vs.Policy, goal=st.sampled_from(["balanced", "latency", "throughput"])),
        vllm_version=text,
    )


@given(request=requests())
def test_a_request_comes_back_from_its_profile(request):
    assert parse_profile(profile_text(request).encode()) == request


@given(request=requests())
def test_yaml_1_1_and_1_2_read_the_same(request):
    text = profile_text(request)

    assert YAML(typ="safe", pure=True).load(text) == yaml.safe_load(text)


def test_a_profile_is_plain():
    request = vs.PlanRequest(model="Qwen/Qwen3-8B", gpu="h100-sxm", num_gpus=2, vllm_version="0.33.0")

    text = profile_text(request)

    assert "\nprofile_version: 1\nmodel: Qwen/Qwen3-8B\ngpu: h100-sxm\nnum_gpus: 2\n" in text
    assert '\nvllm_version: "0.33.0"\n' in text
    assert "null" not in text


def test_a_profile_may_be_short():
    request = parse_profile(b"profile_version: 1\nmodel: a/b\n")

    assert request == vs.PlanRequest(model="a/b")


REFUSED = {
    "nothing": (b"", "must hold keys and values"),
    "a-list": (b"- 1", "must hold keys and values"),
    "text": (b"model", "must hold keys and values"),
    "no-version": (b"model: a/b", "does not say its profile_version; this release reads 1"),
    "another-version": (b"profile_version: 2\nmodel: a/b", "has profile_version 2"),
    "version-as-text": (b"profile_version: '1'\nmodel: a/b", "has profile_version '1'"),
    "version-true": (b"profile_version: true\nmodel: a/b", "has profile_version True"),
    "no-model": (b"profile_version: 1", "model"),
    "misspelt": (b"profile_version: 1\nmodel: a/b\nnum_gpu: 2", "did you mean 'num_gpus'?"),
    "misspelt-within": (b"profile_version: 1\nmodel: a/b\nengine_args: {max-model-len: 2}", "'max_model_len'"),
    "wrong-type": (b"profile_version: 1\nmodel: a/b\nnum_gpus: two", "num_gpus"),
    "float-for-int": (b"profile_version: 1\nmodel: a/b\nnum_gpus: 2.0", "num_gpus"),
    "date": (b"profile_version: 1\nmodel: 2026-01-01", "model"),
    "out-of-range": (b"profile_version: 1\nmodel: a/b\nworkload: {concurrency: 0}", "concurrency"),
    "number-as-key": (b"profile_version: 1\nmodel: a/b\n7: 2", "'7'"),
    "list-as-key": (b"profile_version: 1\nmodel: a/b\n? [1]\n: 2", "unhashable"),
    "null-model": (b"profile_version: 1\nmodel:", "model"),
    "key-twice": (b"profile_version: 1\nmodel: a/b\nmodel: a/c", "twice in line 1"),
    "alias": (b"profile_version: 1\nmodel: &m a/b\ngpu: *m", "aliases are not read in line 3"),
    "tag": (b"profile_version: 1\nmodel: !!python/name:os.system", "line 2"),
    "two-documents": (b"profile_version: 1\n---\nmodel: a/b", "line 2"),
    "tabs": (b"profile_version: 1\n\tmodel: a/b", "line 2"),
    "not-utf8": (b"\xff\xfe\xfa", "not usable YAML"),
    "control-character": (b"profile_version: 1\nmodel: a\x00b", "not usable YAML"),
    "deep": (b"profile_version: 1\nmodel: " + b"[" * 5000, "not usable YAML"),
    "long": (b"#" * 200_000, "larger than 100,000 bytes"),
    "nan": (b"profile_version: 1\nmodel: a/b\nparams_b: .nan", "params_b"),
    "endless": (b"profile_version: 1\nmodel: a/b\nworkload: {request_rate: .inf}", "request_rate"),
    "huge": (b"profile_version: 1\nmodel: a/b\nnum_gpus: " + b"9" * 5000, ""),
    "negative": (b"profile_version: 1\nmodel: a/b\nmemory_bytes: -1", "memory_bytes"),
    "empty-model": (b"profile_version: 1\nmodel: ''", "model"),
    "link-as-number": (b"profile_version: 1\nmodel: a/b\ninterconnect: 7", "interconnect"),
    "unknown-link": (b"profile_version: 1\nmodel: a/b\ninterconnect: string", "nvlink, pcie, unknown"),
}


@pytest.mark.parametrize(("data", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_profile_is_refused_in_one_line(data, said):
    with pytest.raises(vs.SizingError) as caught:
        parse_profile(data, where="profile p.yaml")

    assert caught.value.message.startswith("profile p.yaml")
    assert said in caught.value.message


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_raise_anything_else(data):
    with pytest.raises(vs.SizingError):
        parse_profile(b"profile_version: 1\nnope: " + data)


@pytest.mark.parametrize("path", ["none.yaml", ".", "a\0b", "x" * 5000])
def test_what_cannot_be_opened_is_told(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(vs.SourceError, match=r"cannot be read: .*; give a file that `generate` wrote"):
        read_profile(path)
