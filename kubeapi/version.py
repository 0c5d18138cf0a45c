"""Which Kubernetes API this is, and which release of ours."""

MAJOR, MINOR = "1", "33"
GIT_VERSION = f"v{MAJOR}.{MINOR}.0"


def release() -> str:
    """Of the installed package; empty when it runs from a bare checkout. Asking takes 20 ms of imports."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("sampan")
    except PackageNotFoundError:
        return ""
