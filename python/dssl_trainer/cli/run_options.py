"""What the commands that take a run have in common."""

ABOUT_RUN = "folder of a run (`dssl train --out`), or one of its checkpoint files"


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
