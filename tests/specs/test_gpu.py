import attrs
import pytest

import vllm_sizing as vs
from vllm_sizing.errors import InvalidValueError

L4 = vs.find_gpu("l4")


def test_peaks_may_come_as_json_has_them():
    assert attrs.evolve(L4, peak_flops=dict(L4.peak_flops)) == L4
    assert hash(vs.GpuSpec(name="mine", memory_bytes=1, peak_flops={"bf16": 1e12}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("peak_flops", {"bf16": 0}),
        ("peak_flops", {"bf16": "fast"}),
        ("peak_flops", 989e12),
        ("peak_flops", ["bf16"]),
        ("compute_capability", "9.0"),
        ("compute_capability", (9,)),
    ],
    ids=repr,
)
def test_what_a_gpu_cannot_have_is_refused_by_name(field, value):
    with pytest.raises(InvalidValueError, match=f"^{field} is ") as refused:
        vs.GpuSpec(**{"name": "mine", "memory_bytes": 1, field: value})
    assert refused.value.field == field


def test_a_network_has_a_speed():
    with pytest.raises(InvalidValueError, match="network_bytes_per_s is 0"):
        vs.Cluster(gpu=L4, network_bytes_per_s=0)


@pytest.mark.parametrize("field", ["num_gpus", "num_nodes"])
def test_clusters_have_an_end(field):
    with pytest.raises(InvalidValueError, match=f"^{field} is 99,999,999; it must be at most"):
        vs.Cluster(**{"gpu": L4, field: 99_999_999})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: vs.Workload(target=500), "target is 500; it must be a LatencyTarget"),
        (lambda: vs.Cluster(gpu="l4"), "gpu is 'l4'; it must be a GpuSpec"),
    ],
)
def test_values_of_another_class_are_refused(make, said):
    with pytest.raises(InvalidValueError) as refused:
        make()
    assert str(refused.value) == said
