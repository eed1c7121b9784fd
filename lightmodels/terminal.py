"""What only a terminal gets: colours, and a line that says how far a long epoch is."""

import os
import shutil
import sys
import time

LONG_EPOCH = 2.0  # seconds after which an epoch shows how far it is
REFRESH = 0.2  # seconds between two looks at it
BAR = 20  # characters
CLEAR_LINE = "\r\033[K"
STYLES = {"bold": "\033[1m", "green": "\033[32m"}


def is_terminal() -> bool:
    """Whether what is printed goes to a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def styled(text: str, style: str) -> str:
    """The text in a colour, where there are colours and nobody has asked for none (``NO_COLOR``)."""
    plain = not is_terminal() or os.environ.get("NO_COLOR")
    return text if plain else f"{STYLES[style]}{text}\033[0m"


class ProgressLine:
    """The line below a table that is overwritten while an epoch goes on, and gone when it is over."""

    def __init__(self) -> None:
        self._shown = False
        self.start()

    def start(self) -> None:
        """Begins an epoch."""
        self._started, self._refreshed = time.perf_counter(), 0.0
        self._first_step: int | None = None

    def due(self) -> bool:
        """Whether the line is to be written now: in a terminal, in a long epoch, a few times a second."""
        now = time.perf_counter()
        if now - self._started < LONG_EPOCH or now - self._refreshed < REFRESH or not is_terminal():
            return False
        self._refreshed = now
        return True

    def counts(self, behind: int) -> None:
        """A step is done, with so many behind it; a resumed epoch has some behind its first one."""
        if self._first_step is None:
            self._first_step = behind

    def show(self, epoch: int, step: int, total: float, loss: float | None) -> None:
        """Writes how far training is.

        Args:
            epoch: the number of the epoch.
            step: batches trained on.
            total: batches of the epoch, or infinity.
            loss: the epoch's mean so far.
        """
        made = max(step - (self._first_step or 0), 1)
        left = (time.perf_counter() - self._started) / made * (total - step)
        known = total != float("inf")
        parts = [f"epoch {epoch}", f"[{bar(step / total)}]" if known else "", f"step {step}"]
        parts[2] += f"/{total:.0f}" if known else ""
        parts += [f"loss {loss:.4f}"] if loss is not None else []
        parts += [f"{duration(left)} left"] if known else []
        self.write("  ".join(filter(None, parts)))

    def write(self, text: str) -> None:
        """Overwrites the line, cut to the terminal's width: a line that wraps could not be overwritten."""
        print(CLEAR_LINE + text[: shutil.get_terminal_size().columns - 1], end="", flush=True)
        self._shown = True

    def clear(self) -> None:
        """Takes the line away, if there is one."""
        if self._shown:
            print(CLEAR_LINE, end="", flush=True)
        self._shown = False


def bar(share: float) -> str:
    """A bar of which that share is full.

    Example:
        >>> bar(0.25)
        '#####...............'
    """
    full = min(int(BAR * share), BAR)
    return "#" * full + "." * (BAR - full)


def duration(seconds: float) -> str:
    """Seconds as people say them.

    Example:
        >>> duration(7.2), duration(200), duration(3700)
        ('7 s', '3:20 min', '1:01:40 h')
    """
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02} h"
