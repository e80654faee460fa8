"""
The report: what it says, how wide it is, and that no name can break it.
"""

import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.render import samples
from vllm_sizing.errors import InvalidValueError
from vllm_sizing.render.command import command
from vllm_sizing.render.console import apportion, to_text
from vllm_sizing.specs.findings import Finding

ANSI = re.compile(r"\x1b\[[\d;]*m")


def without_command(plan, text):
    """
    The report up to the command, which alone may be wider than the page.
    """
    if not plan.fits:
        return text
    return text.rpartition("\n\n")[0]


@pytest.mark.parametrize("name", samples.PLANS)
def test_report(name, golden):
    assert to_text(samples.PLANS[name]()) == golden("txt")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("fits", {"width": 40}, id="narrow"),
        pytest.param("hybrid", {"width": 40, "ascii_only": True, "explain": True}, id="narrow-ascii-explain"),
        pytest.param("hybrid", {"width": 200, "explain": True}, id="wide-explain"),
        pytest.param("lora-and-draft", {"explain": True}, id="explain"),
        pytest.param("east-asian", {"ascii_only": True}, id="ascii"),
    ],
)
def test_report_with(name, options, golden):
    assert to_text(samples.PLANS[name](), **options) == golden("txt")


@pytest.mark.parametrize("name", ["fits", "does-not-fit"])
def test_report_in_colour(name, golden):
    assert to_text(samples.PLANS[name](), color=True) == golden("ansi")


@pytest.mark.parametrize("width", [40, 65, 80, 200])
@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_line_but_the_command_is_wider_than_the_page(plan, width, explain, ascii_only):
    text = to_text(plan, width=width, explain=explain, ascii_only=ascii_only)

    assert max(cell_len(line) for line in without_command(plan, text).splitlines()) <= width


@pytest.mark.parametrize("width", [-1, 0, 1, 39])
def test_a_page_has_forty_columns_at_least(width):
    plan = samples.fits()

    assert to_text(plan, width=width) == to_text(plan, width=40)


@pytest.mark.parametrize("explain", [False, True])
def test_nothing_can_steer_the_terminal(plan, explain):
    text = to_text(plan, explain=explain)

    assert all(line.isprintable() for line in text.splitlines())
    assert "\r" not in text


def test_colour_changes_nothing_but_the_escapes(plan):
    plain, coloured = to_text(plan, color=False), to_text(plan, color=True)

    assert [ANSI.sub("", line).rstrip() for line in coloured.splitlines()] == plain.splitlines()
    assert "\x1b" not in plain
    assert ANSI.search(coloured)


def test_ascii_only_is_ascii(plan):
    assert to_text(plan, ascii_only=True, explain=True).isascii()
    assert to_text(plan, ascii_only=True).isascii()


def test_a_command_that_ascii_cannot_write_is_not_offered():
    assert to_text(samples.east_asian(), ascii_only=True).endswith("\n\nNo command: ASCII cannot write it.\n")


def test_the_environment_changes_nothing(plan, monkeypatch):
    before = to_text(plan, width=90)
    for name, value in {
        "COLUMNS": "33",
        "LINES": "3",
        "NO_COLOR": "1",
        "FORCE_COLOR": "1",
        "TTY_COMPATIBLE": "1",
        "TERM": "dumb",
        "JUPYTER_COLUMNS": "20",
    }.items():
        monkeypatch.setenv(name, value)

    assert to_text(plan, width=90) == before


def test_the_verdict_stands_first_and_the_command_last():
    plan = samples.fits()
    text = to_text(plan)

    assert text.startswith("FITS with ")
    assert text.endswith("\n\n" + command(plan))


def test_a_plan_that_does_not_fit_offers_what_would_and_no_command():
    text = to_text(samples.does_not_fit())
    first, second, *_ = text.splitlines()

    assert first == "DOES NOT FIT: 53.13 GiB per GPU missing"
    assert second == "It would fit with --tensor-parallel-size 4"
    assert "vllm serve" not in text


def test_a_plan_refused_for_another_reason_than_memory_says_so():
    plan = attrs.evolve(samples.does_not_fit(), shortfall_bytes=-1, alternatives=())

    assert to_text(plan).startswith("DOES NOT FIT: vLLM would refuse to start, although there is memory")


def test_a_command_that_cannot_be_written_is_explained():
    plan = samples.hostile()
    with pytest.raises(InvalidValueError) as refused:
        command(plan)

    assert f"\n\nNo command: {refused.value.message}\n".replace("\\'", "'") in to_text(plan).replace("\\'", "'")


def test_the_command_is_not_wrapped():
    plan = samples.fits()
    plan = attrs.evolve(plan, model=attrs.evolve(plan.model, name="a/" + "long-name-" * 20))

    assert to_text(plan, width=40).endswith(command(plan))


def test_reasons_are_cut_to_one_line_unless_explained():
    plan = samples.fits()
    reason = plan.decisions[0].reason
    end = reason[-20:]

    assert end not in to_text(plan)
    assert reason in to_text(plan, width=240, explain=True)


def test_warnings_stand_before_remarks():
    text = to_text(samples.fits())

    assert text.index("warning  ") < text.index("info     ")


def test_every_finding_is_shown_with_its_hint():
    plan = samples.fits()
    findings = [Finding(code=str(number), message=f"m{number}.", hint=f"h{number}.") for number in range(20)]
    text = to_text(attrs.evolve(plan, findings=tuple(findings)))

    assert all(f"m{number}." in text and f"h{number}." in text for number in range(20))


def test_markup_and_emoji_codes_are_text():
    plan = samples.fits()
    plan = attrs.evolve(plan, model=attrs.evolve(plan.model, name="[red]x[/red]:smile:[/]"))

    assert "[red]x[/red]:smile:[/]" in to_text(plan, color=True)


def test_the_bar_shows_every_part_and_fills_the_page(plan):
    line = next(line for line in to_text(plan, width=80).splitlines() if line.startswith("█"))

    assert cell_len(line) == 80


@given(
    amounts=st.lists(st.integers(1, 10**12), min_size=1, max_size=9),
    width=st.integers(40, 300),
)
def test_apportioned_cells_add_up_and_keep_the_order(amounts, width):
    """
    All cells are used, each part has one, and a larger part never has fewer.
    """
    cells = apportion(amounts, width)

    assert sum(cells) == width
    assert min(cells) >= 1
    by_amount = [size for _, size in sorted(zip(amounts, cells, strict=True))]
    assert by_amount == sorted(by_amount)


@given(name=st.text(min_size=1, max_size=300), width=st.integers(40, 120), ascii_only=st.booleans())
def test_no_name_breaks_the_page(name, width, ascii_only):
    """
    Whatever the model is called: printable lines, none too wide.
    """
    plan = samples.fits()
    plan = attrs.evolve(
        plan,
        model=attrs.evolve(plan.model, name=name),
        findings=(Finding(code="x", message=name, hint=name),),
    )
    text = to_text(plan, width=width, ascii_only=ascii_only)

    assert all(line.isprintable() for line in text.split("\n"))
    assert all(cell_len(line) <= width for line in without_command(plan, text).split("\n"))
