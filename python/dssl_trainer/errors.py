"""What the user can put right."""


class TrainerError(Exception):
    """Something the user can put right; the command line prints it as one line and exits with 2."""


def one_line(error):
    """The words of any exception."""
    return " ".join(str(error).split()) or type(error).__name__
