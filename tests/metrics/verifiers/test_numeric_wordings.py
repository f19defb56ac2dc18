"""Numbers as models write them, by kind of wording: each row is a gold, a reply and the right verdict."""

from __future__ import annotations

import time

import pytest

from ratoon.metrics.verifiers.numeric import specimen, verify

LAST, BOX, TAG = {}, {"extract": "boxed"}, {"extract": "tagged"}
SHARE, EUROPE, POINT = {"percent": "fraction"}, {"decimal": "comma"}, {"decimal": "point"}

WORDINGS = {
    "mixed numbers": [
        (LAST, "7/2", r"The answer is 3\frac{1}{2}.", "pass"),
        (LAST, "31/2", r"The answer is 3\frac{1}{2}.", "fail"),
        (BOX, "7/2", r"\boxed{3\dfrac12}", "pass"),
        (BOX, "31/2", r"\boxed{3\frac{1}{2}}", "fail"),
        (LAST, "9/4", r"So it weighs $2\tfrac{1}{4}$ kg.", "pass"),
        (BOX, "-5/2", r"\boxed{-2\frac{1}{2}}", "pass"),
        (BOX, "1837/2", r"\boxed{918 \frac{1}{2}}", "pass"),
        (LAST, "16/3", r"It takes $5\,\frac{1}{3}$ hours.", "pass"),
        (LAST, "7/2", "The answer is 3½.", "pass"),
        (LAST, "11/4", "The answer is 2 ¾.", "pass"),
        (LAST, "-7/2", "x = −3½", "pass"),
        (TAG, "41/8", r"<answer>5\frac18</answer>", "pass"),
        (LAST, "3/2", r"The answer is $3 \cdot \frac{1}{2} = \frac{3}{2}$.", "pass"),
        (LAST, "5/3", "It takes 1 2/3 hours.", "pass"),
    ],
    "fractions": [
        (LAST, "3/4", "The answer is 3 / 4.", "pass"),
        (LAST, "1/2", r"The probability is \cfrac{1}{2}.", "pass"),
        (BOX, "-3/4", r"\boxed{\frac{-3}{4}}", "pass"),
        (BOX, "3/4", r"\boxed{\frac34}", "pass"),
        (BOX, "3/4", r"\boxed{\frac{3}4}", "pass"),
        (BOX, "13/4", r"\boxed{\dfrac{ 13 }{ 4 }}", "pass"),
        (BOX, "5/8", r"\boxed{{5 \over 8}}", "pass"),
        (BOX, "1/1000", r"\boxed{1/1,000}", "pass"),
        (BOX, "1000/3", r"\boxed{\frac{1{,}000}{3}}", "pass"),
        (LAST, "2/3", "So two of three: ⅔", "pass"),
        (LAST, "1/2", "Half of it, 1⁄2", "pass"),
        (LAST, "3", "12 / 4 = 3", "pass"),
        (BOX, "2/5", r"\boxed{\nicefrac{2}{5}}", "pass"),
    ],
    "signs": [
        (LAST, "-20", "He lost money: -$20.", "pass"),
        (LAST, "20", "His balance is -$20.", "fail"),
        (BOX, "20", r"\boxed{-\$20}", "fail"),
        (BOX, "-20", r"\boxed{-\$20}", "pass"),
        (BOX, "-5", r"\boxed{- 5}", "pass"),
        (BOX, "5", r"\boxed{- 5}", "fail"),
        (LAST, "1/2", r"The answer is - \frac{1}{2}.", "fail"),
        (LAST, "-1/2", r"The answer is $-\,\frac{1}{2}$.", "pass"),
        (LAST, "20", "His balance is minus 20 dollars.", "fail"),
        (LAST, "-20", "His balance is minus $20.", "pass"),
        (LAST, "-8", "It is negative 8.", "pass"),
        (BOX, "5", r"\boxed{-\text{5}}", "fail"),
        (BOX, "-5", r"\boxed{\text{-}5}", "pass"),
        (LAST, "-7.5", "The change is −€7.50", "pass"),
        (LAST, "-3", "The temperature was - 3 degrees.", "pass"),
        (TAG, "-4", "<answer>- 4</answer>", "pass"),
        (LAST, "7", "10 minus 3 is 7", "pass"),
        (LAST, "3", "What is 10 minus 3", "pass"),
        (LAST, "7", "Here it is:\n- 7", "pass"),
        (LAST, "-5", "答案是-5", "pass"),
        (LAST, "4", "Well-known, A-4", "pass"),
        (BOX, "5", r"\boxed{\pm 5}", "fail"),
    ],
    "units": [
        (LAST, "15", r"The area is $15 \text{ cm}^{2}$.", "pass"),
        (LAST, "2", r"The area is $12\text{ cm}^{2}$.", "fail"),
        (BOX, "42", r"\boxed{42\text{ cm}^{2}}", "pass"),
        (LAST, "12", "The area is 12 cm$^{2}$.", "pass"),
        (LAST, "3", r"The volume is $12\text{ m}^{3}$.", "fail"),
        (LAST, "12", "The area is 12 cm<sup>2</sup>.", "pass"),
        (LAST, "12", "The area is 12 cm².", "pass"),
        (LAST, "9.8", r"$g = 9.8\,\mathrm{m\,s^{-2}}$", "pass"),
        (LAST, "5", "It moves at 5 m s⁻¹.", "pass"),
        (BOX, "90", r"\boxed{90^{\circ}}", "pass"),
        (BOX, "90", r"\boxed{90^\circ}", "pass"),
        (LAST, "18", "It holds 18 g of H₂O", "pass"),
        (LAST, "4", r"$x_{10} = 4$, and that is $x_{10}$.", "pass"),
        (LAST, "7", "The area is\n7\n$\\text{cm}^{2}$", "pass"),
        (BOX, "60", r"\boxed{60\ \frac{\text{km}}{\text{h}}}", "pass"),
    ],
    "thousands": [
        (LAST, "10000", r"She needs $10,\!000$ steps.", "pass"),
        (LAST, "0", r"She needs 10,\!000 steps.", "fail"),
        (BOX, "8000", r"\boxed{8,\!000}", "pass"),
        (BOX, "8000", r"\boxed{8\,000}", "pass"),
        (BOX, "8000", r"\boxed{8\;000}", "pass"),
        (BOX, "8000", r"\boxed{8\ 000}", "pass"),
        (BOX, "8000", r"\boxed{8{,}000}", "pass"),
        (LAST, "1234567", "The town has 1'234'567 people.", "pass"),
        (LAST, "1234567", "The town has 1’234’567 people.", "pass"),
        (LAST, "1234567", "The town has 12,34,567 people.", "pass"),
        (LAST, "1234567", "The town has 1.234.567 people.", "pass"),
        (LAST, "32348", r"It costs \$32,\!348.", "pass"),
        (LAST, "10000", "10~000", "pass"),
        (LAST, "5", "They are 1,234,5", "pass"),
    ],
    "decimal commas": [
        (LAST, "3.5", "Das Ergebnis ist 3,5.", "pass"),
        (LAST, "1234.56", "Der Preis ist 1.234,56 €.", "pass"),
        (LAST, "1234", "Der Preis ist 1,234.", "pass"),
        (EUROPE, "1,234", "Der Preis ist 1,234.", "pass"),
        (EUROPE, "1.2", "Der Preis ist 1,2.", "pass"),
        (EUROPE, "1234", "Der Preis ist 1.234 €.", "pass"),
        (EUROPE, "1234.5", "Der Preis ist 1.234,5 €.", "pass"),
        (POINT, "5", "Die Zahlen sind 3,5", "pass"),
        (LAST, "5", "The point is (3,5)", "pass"),
        (LAST, "3", "The numbers are 1,2,3", "pass"),
        (BOX, "3.14", r"\boxed{3{,}14}", "pass"),
        (LAST, "-0.25", "x = -0,25", "pass"),
        (BOX, "2", r"\boxed{1, 2}", "fail"),
    ],
    "powers": [
        (LAST, "8", "The answer is 2³.", "pass"),
        (LAST, "1200", "The answer is 1.2×10³.", "pass"),
        (LAST, "1200", r"$1.2 \cdot 10^{3}$", "pass"),
        (LAST, "0.005", "5 × 10⁻³", "pass"),
        (LAST, "1024", "2^{10}", "pass"),
        (LAST, "1/8", "2⁻³", "pass"),
        (LAST, "6000", "6·10^3", "pass"),
    ],
    "digits of the world": [
        (LAST, "42", "The answer is ４２.", "pass"),
        (LAST, "42", "الجواب هو ٤٢", "pass"),
        (LAST, "42", "उत्तर ४२ है", "pass"),
        (LAST, "3.5", "الجواب هو ٣٫٥", "pass"),
        (LAST, "1234", "الجواب هو ١٬٢٣٤", "pass"),
        (LAST, "-42", "答えは－４２です", "pass"),
        (LAST, "43", "الجواب هو ٤٢", "fail"),
        (LAST, "30000", "一共３万人", "pass"),
    ],
    "words of magnitude": [
        (LAST, "1", "It is 1 million.", "fail"),
        (LAST, "1000000", "It is 1 million.", "pass"),
        (LAST, "1500000", "The firm is worth $1.5 million.", "pass"),
        (LAST, "1500000", "The firm is worth $1.5M.", "pass"),
        (BOX, "2000000000", r"\boxed{2\text{ billion}}", "pass"),
        (LAST, "12000", "It costs 12 thousand dollars.", "pass"),
        (LAST, "12000", "It costs 12k", "pass"),
        (LAST, "3", "They sold 3 Millionen", "fail"),
        (LAST, "300000", "It costs 3 lakh rupees", "pass"),
        (LAST, "-2500000", "The change is -$2.5 million", "pass"),
        (LAST, "500000", "It is 1/2 million", "pass"),
        (LAST, "5", "It runs 5 km", "pass"),
        (LAST, "7", "7 millionaires", "pass"),
    ],
    "an exact value and its rounding": [
        (BOX, "1/3", r"\boxed{\frac{1}{3} \approx 0.333}", "pass"),
        (BOX, "0.333", r"\boxed{\frac{1}{3} \approx 0.333}", "pass"),
        (BOX, "1/3", r"\boxed{x = \frac{1}{3} \approx 0.333}", "pass"),
        (LAST, "2/3", "The answer is 2/3 ≈ 0.67.", "pass"),
        (LAST, "2/3", "The answer is 2/3 (about 0.67).", "pass"),
        (LAST, "2/3", "The answer is 2/3, or approximately 0.667", "pass"),
        (BOX, "1/3", r"\boxed{\frac{1}{3} \approx 0.5}", "fail"),
        (BOX, "37.7", r"\boxed{12\pi \approx 37.7}", "pass"),
        (BOX, "3.14", r"\boxed{x \approx 3.14}", "pass"),
        (LAST, "0.8", "It is 2/3 ≈ 0.67", "fail"),
    ],
    "percent": [
        (SHARE, "0.6", "The share is 60 percent.", "pass"),
        (SHARE, "0.6", "The share is 60 per cent.", "pass"),
        (SHARE, "0.6", r"\boxed{60\%}" + " is the share, 60\\%", "pass"),
        (SHARE, "0.6", "The share is 60％", "pass"),
        (SHARE, "60", "The share is 60 percent.", "fail"),
        (LAST, "60", "The share is 60 percent.", "pass"),
        (SHARE, "0.125", "It is 12.5 pct", "pass"),
    ],
    "frames": [
        (BOX, "42", r"So \fbox{42}.", "pass"),
        (BOX, "42", r"So \boxed 42.", "pass"),
        (BOX, "42", r"So $\boxed 42$.", "pass"),
        (BOX, "42", r"So \framebox{42}.", "pass"),
        (BOX, "42", r"\boxed{\boxed{42}}", "pass"),
        (BOX, "42", r"\\boxed{42}", "pass"),
        (BOX, "42", r"\boxed{\text{42 apples}}", "pass"),
        (BOX, "42", r"\boxed{41}, \boxed{42}", "fail"),
        (BOX, "42", r"\boxed{42} and \boxed{42}", "pass"),
        (BOX, "42", r"First \boxed{41}. Then I see that it is \boxed{42}.", "pass"),
        (TAG, "42", '{"answer": 42}', "pass"),
        (TAG, "42", "**Answer: 42**", "pass"),
    ],
    "words behind and beside the answer": [
        (LAST, "7", "The answer is 7. I found it in 2 steps.", "pass"),
        (LAST, "7", "The answer is 7 apples. I found it in 2 steps.", "pass"),
        (LAST, "2", "The answer is 7. I found it in 2 steps.", "fail"),
        (LAST, "7", "**Answer: 7**. That is 3 + 4.", "pass"),
        (LAST, "8", "The answer is 7. No, it is 8.", "pass"),
        (LAST, "7", "It is 8, not 7.", "fail"),
        (LAST, "8", "It is 8, not 7.", "pass"),
        (LAST, "7", "It is 8 or 7.", "fail"),
        (LAST, "7", "It is 7, or $7$.", "pass"),
        (LAST, "7", "The answer is 3 + 4 = 7", "pass"),
        (TAG, "7", "<answer>8</answer> or <answer>7</answer>", "fail"),
        (TAG, "7", "<answer>8</answer> No. <answer>7</answer>", "pass"),
    ],
    "no plain number": [
        (BOX, "16", r"\boxed{\sqrt{16}}", "fail"),
        (BOX, "2", r"\boxed{\sqrt[3]{2}}", "fail"),
        (BOX, "12", r"\boxed{12\pi}", "fail"),
        (LAST, "12", "The area is 12π.", "fail"),
        (BOX, "5", r"\boxed{5!}", "fail"),
        (LAST, "30", "They meet at 12:30", "fail"),
        (LAST, "3", "The ratio is 2:3", "fail"),
        (LAST, "42", "It is 42!", "pass"),
        (LAST, "3", "Answer:3", "pass"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("args", "gold", "reply", "right"), [row for rows in WORDINGS.values() for row in rows], ids=lambda value: str(value)[:40]
)
def test_a_wording_gets_the_right_verdict(args: dict, gold: str, reply: str, right: str) -> None:
    assert verify(reply, gold, args).status == right


@pytest.mark.parametrize(
    "gold", [r"10,\!000", "$1.5 million", r"\frac{3}{4}", r"-\$20", "3½", "60 percent", "٤٢", "- 5", "4.0"]
)
def test_a_gold_may_be_written_so_and_passes_its_own_check(gold: str) -> None:
    for args in (LAST, BOX, TAG):
        assert verify(specimen(gold, args), gold, args).status == "pass"


@pytest.mark.parametrize(
    "unit",
    [r"\boxed{", r"\boxed{1}, ", r"\boxed 1 ", "<answer>", "answer: ", r"\frac{", "^{", "_{", "1/", "1 ", "1,", "- ", "$-", "½",
     "٤", "\\text{", "√", "minus ", "10^", "\n1", "≈ 1 ", "{1 \\over ", "<sup>"],
)  # fmt: skip
@pytest.mark.parametrize("args", [LAST, BOX, TAG])
def test_a_reply_that_loops_to_100_kb_is_judged_at_once(unit: str, args: dict) -> None:
    reply = unit * (100_000 // len(unit))
    start = time.process_time()
    assert verify(reply, "7", args).status == "fail"
    assert time.process_time() - start < 1
