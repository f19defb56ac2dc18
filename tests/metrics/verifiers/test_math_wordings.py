r"""Mathematical answers as models write them, by kind of wording: each row is a gold, a reply and the right verdict."""

from __future__ import annotations

import time

import pytest

from ratoon.metrics.verifiers.math import library, specimen, verify

library()
ANY, LOOSE = {}, {"unanchored": True}

WORDINGS = {
    "units in words and other digits": [
        (ANY, r"$\boxed{1}\boxed{2}$", r"$\boxed{1,2}$", "pass"),
        (ANY, "2", r"$\boxed{1}\boxed{2}$", "fail"),
        (ANY, r"$\boxed{35 cm} ++++++ \boxed{4}$", r"\boxed{35 cm, 4}", "pass"),
        (ANY, "x^2-1", r"\boxed{x^2-1\ }", "pass"),
        (ANY, r"\sqrt{2}", r"\boxed{\sqrt{2}\ }", "pass"),
        (ANY, "23", r"\boxed{23 dollars}", "pass"),
        (ANY, "50.125", r"\boxed{50.125 cm^2}", "pass"),
        (ANY, "24", r"\boxed{23 dollars}", "fail"),
        (ANY, "7/2", r"\boxed{\frac{7}{2} square feet}", "pass"),
        (ANY, "12", r"\boxed{12\ units}", "pass"),
        (ANY, "30", r"\boxed{30 degrees}", "pass"),
        (ANY, "12 miles", r"\boxed{12}", "pass"),
        (ANY, "5", r"\boxed{٥}", "pass"),
        (ANY, "51", r"\boxed{५१}", "pass"),
        (ANY, "5", r"\boxed{٤}", "fail"),
    ],
    "boxes side by side": [
        (ANY, "1,2", r"So \boxed{1} and \boxed{2}.", "pass"),
        (ANY, r"\{1,2,3\}", r"\boxed{1},\boxed{2},\boxed{3}", "pass"),
        (ANY, "(2, 2), (6, 2)", r"\[\boxed{(2, 2)} \quad \text{and} \quad \boxed{(6, 2)}\]", "pass"),
        (ANY, "2", r"\boxed{1}, \boxed{2}", "fail"),
        (ANY, r"Thus either $\boxed{1}$ or $\boxed{2}$.", r"\boxed{1} or \boxed{2}", "pass"),
        (ANY, "1,2", r"$x = \boxed{1}$ or $x = \boxed{2}$", "pass"),
        (ANY, "1,2", r"$\boxed{2}$ and $\boxed{1}$", "pass"),
        (ANY, "1,2", r"$\boxed{1}$ and $\boxed{3}$", "fail"),
        (ANY, "1,2", r"First \boxed{1}. Later I saw that it is \boxed{2}.", "fail"),
        (ANY, "2", r"First \boxed{1}. Later I saw that it is \boxed{2}.", "pass"),
        (ANY, "2", r"\boxed{2}, that is \boxed{2}", "pass"),
        (ANY, "3,4", r"\boxed{3} apples and \boxed{4} pears", "pass"),
    ],
    "currency and units in the gold": [
        (ANY, r"\$10", r"\boxed{10}", "pass"),
        (ANY, r"\$32,\!348", r"\boxed{32348}", "pass"),
        (ANY, r"\$9.00", r"\boxed{\$9.00}", "pass"),
        (ANY, r"\$9.00", r"\boxed{9}", "pass"),
        (ANY, "$10", r"\boxed{10}", "pass"),
        (ANY, r"12\text{ cm}", r"\boxed{12}", "pass"),
        (ANY, r"12\text{ cm}^2", r"\boxed{12\text{ cm}^2}", "pass"),
        (ANY, r"\$10", r"\boxed{\$1}", "fail"),
        (ANY, "€5", r"\boxed{5\text{ euros}}", "pass"),
        (ANY, r"5\text{ million}", r"\boxed{5000000}", "pass"),
        (ANY, "5", r"\boxed{5\text{ million}}", "fail"),
    ],
    "powers beside the answer": [
        (ANY, "4", r"Since $3^{2024} \equiv 4$ mod 7, the answer is $4$.", "pass"),
        (ANY, r"... so $3^{2024}\equiv 9\equiv \boxed{2} \pmod 7$.", r"\boxed{2}", "pass"),
        (ANY, r"2^{1009}", r"\boxed{2^{1009}}", "pass"),
        (ANY, r"2^{1009}", r"\boxed{2^{1008}}", "fail"),
        (ANY, "1", r"As $7^{7^{7}}$ is odd, the answer is 1.", "pass"),
        (ANY, r"2^{2^{3}}", r"\boxed{256}", "pass"),
        (ANY, r"x^{2024}", r"\boxed{x^{2024}}", "pass"),
        (ANY, r"2^{100}-1", r"\boxed{2^{100}-1}", "pass"),
        (ANY, "7", r"\boxed{10^{10^{10}}}", "fail"),
    ],
    "announcements": [
        (ANY, "73", "Final Answer: **73**", "pass"),
        (ANY, "73", "Thus the number is **73**.", "pass"),
        (LOOSE, "73", "Thus the number is **73**.", "pass"),
        (ANY, "73", "#### 73", "pass"),
        (LOOSE, "4", "<answer>4</answer>", "pass"),
        (ANY, "4", "<answer>$4$</answer>", "pass"),
        (ANY, "73", "**Final Answer:** 73", "pass"),
        (ANY, "73", "**Final Answer: 73**", "pass"),
        (ANY, "73", "### Final answer\nThe answer is **73**, because 70 + 3 = 73.", "pass"),
        (ANY, "1/2", r"**Answer:** $\frac{1}{2}$", "pass"),
        (ANY, "x+1", "Answer: x + 1", "pass"),
        (ANY, "1,2", "The answers are $x = 1$ and $x = 2$. So the answer is $1$, $2$.", "pass"),
        (ANY, "34", "Final Answer: The largest $n$ is 34.", "pass"),
        (ANY, "73", "The answer is 73 apples.", "pass"),
        (ANY, "72", "The answer is 73, and not 72.", "fail"),
        (ANY, "73", "**Step 2:** count.\nThe result is **73** apples.", "pass"),
        (ANY, "10455", r"Then \boxed{255}. Final Answer: The final answer is $10,455$. I hope it is correct.", "pass"),
        (ANY, "73", "I do not know. **Note** this.", "fail"),
    ],
    "bases": [
        (ANY, "2516_8", r"\boxed{2516_9}", "fail"),
        (ANY, "22_5", r"\boxed{22}", "fail"),
        (ANY, "1010_2", r"\boxed{1010_3}", "fail"),
        (ANY, "2516_8", r"\boxed{2516_8}", "pass"),
        (ANY, "2516_8", r"\boxed{2516_{8}}", "pass"),
        (ANY, "1010_2", r"\boxed{1010_{\text{two}}}", "pass"),
        (ANY, "22_5", r"\boxed{12}", "fail"),
        (ANY, "22", r"\boxed{22_5}", "fail"),
        (ANY, "1A_{16}", r"\boxed{1a_{16}}", "pass"),
        (ANY, "22_5", r"\boxed{23_5}", "fail"),
        (ANY, "22_5", r"The answer is $22_5$.", "pass"),
    ],
    "tiny and close numbers": [
        (ANY, r"\frac{1}{2^{99}}", r"\boxed{\frac{1}{2^{98}}}", "fail"),
        (ANY, r"\frac{1}{2004!}", r"\boxed{\frac{1}{2006!}}", "fail"),
        (ANY, r"\frac{1}{2^{99}}", r"\boxed{2^{-99}}", "pass"),
        (ANY, "0.0000001", r"\boxed{0.0000002}", "fail"),
        (ANY, r"e^{-50}", r"\boxed{e^{-51}}", "fail"),
        (ANY, r"10^{-9}", r"\boxed{10^{-8}}", "fail"),
        (ANY, r"\frac{1}{3}", r"\boxed{0.333333}", "pass"),
        (ANY, r"\frac{1}{3}", r"\boxed{0.333}", "fail"),
        (ANY, r"\frac{1}{3}", r"\boxed{0.34}", "fail"),
        (ANY, "0", r"\boxed{0.0000001}", "fail"),
        (ANY, r"10^{-7}\pi", r"\boxed{2\cdot 10^{-7}\pi}", "fail"),
        (ANY, r"\sqrt{2}", r"\boxed{\frac{2}{\sqrt{2}}}", "pass"),
        (ANY, "100000000000000000001", r"\boxed{100000000000000000000}", "fail"),
    ],
    "boxed text that is no plain LaTeX": [
        (ANY, "13", r"\boxed{13.}", "pass"),
        (ANY, "71/6", r"\boxed{11 5/6}", "pass"),
        (ANY, "10080", r"\boxed{10\,080}", "pass"),
        (ANY, "3", r"\boxed{3\ }", "pass"),
        (ANY, "[0,1)", r"\boxed{0 \le x < 1}", "pass"),
        (ANY, "x^2", r"\boxed{x²}", "pass"),
        (ANY, "-5", r"\boxed{–5}", "pass"),
        (ANY, "-5", r"\boxed{−5}", "pass"),
        (ANY, "3.5", r"\boxed{3½}", "pass"),
        (ANY, r"\sqrt{2}", r"\boxed{√2}", "pass"),
        (ANY, r"2\pi", r"\boxed{2π}", "pass"),
        (ANY, "42", r"\boxed{４２}", "pass"),
        (ANY, "1234567", r"\boxed{1\;234\;567}", "pass"),
        (ANY, r"x \le 3", r"\boxed{x ≤ 3}", "pass"),
        (ANY, r"11\frac{5}{6}", r"\boxed{\frac{71}{6}}", "pass"),
        (ANY, "x^{12}", r"\boxed{x**12}", "pass"),
        (ANY, "13", r"\boxed{13\\}", "pass"),
        (ANY, "13", r"\boxed{ 13,\ }", "pass"),
        (ANY, "12", r"\boxed{3 \times 4}", "pass"),
    ],
    "other frames": [
        (ANY, "42", r"So \fbox{42}.", "pass"),
        (ANY, "42", r"So \boxed 42.", "pass"),
        (ANY, "42", r"So $\boxed 42$.", "pass"),
        (ANY, "42", r"\boxed{\boxed{42}}", "pass"),
        (ANY, "42", r"\\boxed{42}", "pass"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("args", "gold", "reply", "right"), [row for rows in WORDINGS.values() for row in rows], ids=lambda value: str(value)[:40]
)
def test_a_wording_gets_the_right_verdict(args: dict, gold: str, reply: str, right: str) -> None:
    assert verify(reply, gold, args).status == right


@pytest.mark.parametrize(
    "gold",
    [r"\$10", r"\$32,\!348", "2^{1009}", "2516_8", r"Thus either $\boxed{1}$ or $\boxed{2}$.", r"\binom{20000}{10000}",
     "11 5/6", "(1,2)", r"\{1,2\}", r"\text{Monday}", "x^2+1", "[0,1)", "50\\%", "3:4", "12:00", "$x = 1$ or $x = 2$", "½"],
)  # fmt: skip
def test_a_gold_may_be_written_so_and_passes_its_own_check(gold: str) -> None:
    assert verify(specimen(gold, {}), gold, {}).status == "pass"


@pytest.mark.parametrize(
    "reply",
    [r"\boxed{\binom{20000}{10000}}", r"\boxed{" + "7+" * 20_000 + "7}", r"\boxed{" * 4000,
     r"\boxed{" + "(" * 900 + ")" * 900 + "}",
     r"\boxed{\frac{1}{0}}", r"\boxed{9!!!!!!!}", r"\boxed{\sum_{k=1}^{100000} \frac{1}{k^{k}}}", r"\boxed{(x+1)^{9999}}",
     r"\boxed{\int_0^1 x^{x^{x}} dx}", r"\boxed{99999!}", "**" * 50_000, "answer: " * 12_000, "$" * 100_000, "$x$ " * 25_000,
     "answer is $" * 9000, "1 " * 50_000, r"\frac{" * 15_000, "#### " * 20_000, r"\boxed{1}, " * 10_000, "a\n" * 50_000,
     "\ud800 \\boxed{\ud800}"],
    ids=lambda reply: reply[:20],
)  # fmt: skip
def test_whatever_the_policy_wrote_fails_in_under_a_second(reply: str) -> None:
    verify("1", "1", {})  # the library is loaded
    start = time.process_time()
    verdict = verify(reply, "9", LOOSE)
    assert (verdict.status, time.process_time() - start < 1.2) == ("fail", True)


def test_a_gold_that_is_too_long_to_write_out_is_compared_all_the_same() -> None:
    assert verify(r"\boxed{\binom{20000}{10000}}", r"\binom{20000}{10000}", {}).status == "pass"
    assert verify(r"\boxed{\binom{20000}{9999}}", r"\binom{20000}{10000}", {}).status == "fail"
