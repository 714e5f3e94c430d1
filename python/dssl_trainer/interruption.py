"""Ctrl-C and SIGTERM: finish the step, save, stop."""

import contextlib
import signal
import sys
import threading


class Interrupted(Exception):
    """The run stopped because of a signal; its checkpoint is saved."""

    def __init__(self, message, number):
        super().__init__(message)
        self.exit_code = 128 + number


@contextlib.contextmanager
def interruption():
    """A list that receives the number of the first Ctrl-C or SIGTERM; a second one acts as usual."""
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield received
        return
    before = {number: signal.getsignal(number) for number in numbers}

    def note(number, frame):
        received.append(number)
        signal.signal(number, before[number])
        print("\nsaving; once more to stop at once", file=sys.stderr)

    for number in numbers:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number in numbers:
            signal.signal(number, before[number])
