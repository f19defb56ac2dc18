import pytest

from ratoon.errors import ConfigError
from ratoon.metrics.verifiers.exact import specimen, verify


@pytest.mark.parametrize("where", ["whole", "last_line", "boxed", "tagged"])
def test_the_gold_passes_its_own_verifier(where: str) -> None:
    assert verify(specimen("blue whale", {"extract": where}), "blue whale", {"extract": where}).status == "pass"


@pytest.mark.parametrize("text", ["blue whales", "Blue whale", "the blue whale", "bluewhale", "blue whale."])
def test_a_near_miss_is_wrong(text: str) -> None:
    assert verify(text, "blue whale", {}).detail == "wrong"


@pytest.mark.parametrize(
    ("text", "args", "detail"),
    [
        ("", {}, "empty"),
        ("  ", {"extract": "boxed"}, "empty"),
        ("blue", {"extract": "tagged"}, "unparsed: nothing in 'tagged'"),
        (r"\boxed{blue", {"extract": "boxed"}, "unparsed: nothing in 'boxed'"),
    ],
)
def test_empty_and_truncated_replies_fail_and_say_why(text: str, args: dict, detail: str) -> None:
    assert verify(text, "blue", args)[::3] == ("fail", detail)


@pytest.mark.parametrize("gold", [None, "", "  "])
def test_an_empty_gold_abstains(gold: str | None) -> None:
    assert verify("x", gold, {}).status == "abstain"
    assert verify("", gold, {}).status == "abstain"


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("  Blue \n whale ", {"ignore_case": True}),
        ('"blue whale."', {"strip": '."', "ignore_case": True}),
        ("I think:\nblue whale", {"extract": "last_line"}),
        ("Animal: blue whale", {"extract": "tagged", "tag": "animal"}),
    ],
)
def test_the_arguments_say_what_is_compared(text: str, args: dict) -> None:
    assert verify(text, "blue whale", args).status == "pass"


def test_unknown_arguments_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'ignore_case'"):
        verify("x", "x", {"ignorecase": True})
