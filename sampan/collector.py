"""Python's cycle collector in a server's process: what is long-lived is not looked through again and again.

A cache holds some hundred thousand objects, all free of cycles (the API's Structs are not even tracked); at Python's own
thresholds a third of a busy server's time went into walking them, in pauses of 50 to 130 ms. So the collector rests
while modules load, what they made is set aside for good, and afterwards it looks seldom.
"""

import gc


def rest() -> None:
    """While modules load: they make much and drop little."""
    gc.disable()


def settle() -> None:
    """Before the loop starts."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()
