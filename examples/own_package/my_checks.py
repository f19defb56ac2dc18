"""A verifier, a task source and a filter of one's own: three functions; pyproject.toml names them."""

import re


def parity(text, answer, args):
    """Pass when the reply names the right parity and not the other one. None would say: nobody can judge this task."""
    said = {"even", "odd"} & set(re.findall(r"\w+", text.lower()))
    return said == {answer}


def parity_tasks(config, seed):
    """Numbers from `first` on, each asked once."""
    numbers = range(config["first"], config["first"] + config["n"])
    return [{"prompt": f"Is {i} even or odd?", "answer": "odd" if i % 2 else "even"} for i in numbers]


def at_most_words(rows, config):
    """Per row null to keep it, or a short reason. `rows` is an Arrow table of candidates."""
    lengths = [len((text or "").split()) for text in rows["text"].to_pylist()]
    return [None if n <= config["n"] else "wordy" for n in lengths]
