"""The error that is meant for the user rather than for the developer."""


class InputError(ValueError):
    """Something that the user gave cannot be used.

    The message says what was found, where, what was expected and what to do. The command
    line prints it without a traceback.
    """
