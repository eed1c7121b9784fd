"""The error of data that cannot be used."""


class DataError(Exception):
    """A file is missing, damaged or not in the expected format; the message is one line."""

    exit_code = 2  # of the commands


def one_line(error: Exception) -> str:
    """The message of an error in one line, without the number and path in that of an ``OSError``."""
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
