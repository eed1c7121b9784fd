"""What commands say about arguments that they cannot parse, instead of argparse's messages."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

QUOTE = "'"
SYNONYMS = {"learning_rate": "lr", "epochs": "max_epochs", "num_epochs": "max_epochs"}


def explain(message: str, known: Sequence[str]) -> str:
    """An error of argparse in the words of our own messages; ``known`` are all flags.

    Examples:
        >>> explain("argument --top: invalid int value: 'x'", [])
        "--top must be a whole number, got 'x'"
        >>> explain("argument --size: invalid choice: 'm' (choose from 's', 'l')", [])
        "--size must be one of s, l, got 'm'"
    """
    if unknown := re.match(r"[Uu]nrecognized arguments: (\S+)", message):
        return explain_unknown(unknown[1], known)
    if missing := re.match(r"the following arguments are required: (.*)", message):
        return f"{missing[1]} must be given"
    message = message.removeprefix("argument ")
    if chosen := re.match(r"(.*): invalid choice: (.*) \(choose from (.*)\)", message):
        return f"{chosen[1]} must be one of {chosen[3].replace(QUOTE, '')}, got {chosen[2]}"
    message = message.replace(": expected one argument", " needs a value")
    return message.replace(": invalid int value: ", " must be a whole number, got ")


def explain_unknown(argument: str, known: Sequence[str]) -> str:
    """The message: the flag that was probably meant, or those that begin as it does.

    Args:
        argument: what was given, such as ``--lr=0.1``.
        known: all flags.

    Examples:
        >>> known = ["--seed", "--model.lr", "--model.dropout", "--data.batch_size"]
        >>> explain_unknown("--lr=0.1", known)
        'unknown flag --lr; did you mean --model.lr?'
        >>> explain_unknown("--model.width", known)
        'unknown flag --model.width; there are --model.lr, --model.dropout'
    """
    flag = argument.partition("=")[0]
    group, dot, name = flag.removeprefix("--").rpartition(".")
    name = SYNONYMS.get(name, name)
    flags = {each.removeprefix("--").rpartition(".")[2]: each for each in reversed(known)}
    there = {last: each for last, each in reversed(flags.items()) if dot and each.startswith(f"--{group}.")}
    close = get_close_matches(name, flags, n=1, cutoff=0.8) if len(name) > 2 else []
    close += get_close_matches(name, there, n=1) or ([] if dot else get_close_matches(name, flags, n=1, cutoff=0.7))
    meant = [flags[each] for each in (name, *close) if each in flags]
    advice = f"did you mean {meant[0]}?" if meant else f"there are {', '.join(there.values())}" if there else ""
    if group == "trainer" and not meant:
        advice = "--print_config shows all options"
    return f"unknown {'flag' if flag.startswith('-') else 'argument'} {flag}" + (advice and f"; {advice}")
