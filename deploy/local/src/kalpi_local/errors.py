"""What the commands print as one plain message, with exit code 1 and no traceback."""

__all__ = ["LocalError"]


class LocalError(Exception):
    """The stack cannot do what was asked; the message says why and, where there is one, the way out."""
