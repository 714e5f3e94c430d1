"""Progress bars."""

import sys

from tqdm import tqdm


def bar(*arguments, **options):
    """tqdm that, where the output is a file and not a terminal, writes a line only now and then."""
    return tqdm(*arguments, mininterval=0.1 if sys.stderr.isatty() else 10, **options)
