"""Opens the store that a URL names: `memory:`, `sqlite:///absolute/path` or
`etcd://host:2379,host:2379/root?ca=FILE&cert=FILE&key=FILE`, where the root (default /sampan) and the files are optional.

A store is loaded when it is opened: a server on etcd needs no SQLite (1.6 MiB).
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from controlplane.storage.errors import StoreUnavailable
from controlplane.storage.interface import Store


def open_store(url: str) -> Store:
    """ValueError for a URL that names no store we have; StoreUnavailable when it cannot be opened."""
    if url.startswith("etcd://"):
        return _etcd(url)
    if url == "memory:" or url.startswith("sqlite:///"):
        from controlplane.storage.embedded import EmbeddedStore

        return EmbeddedStore(Path(url.removeprefix("sqlite://")) if url != "memory:" else None)
    raise ValueError(f"{url!r} names no store; allowed are memory:, sqlite:///path and etcd://host:port")


def _etcd(url: str) -> Store:
    from controlplane.storage.etcd import EtcdStore
    from controlplane.storage.etcd_link import EtcdTls

    parts = urlsplit(url)
    files = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if unknown := files.keys() - {"ca", "cert", "key"}:
        raise ValueError(f"{url!r}: unknown {', '.join(sorted(unknown))}; allowed are ca, cert and key")
    if files and ("ca" not in files or ("cert" in files) != ("key" in files)):
        raise ValueError(f"{url!r}: TLS takes ca, and cert and key together or neither")
    endpoints = [endpoint for endpoint in parts.netloc.split(",") if endpoint]
    if not endpoints:
        raise ValueError(f"{url!r} names no host")
    try:
        read = {name: Path(path).read_bytes() for name, path in files.items()}
    except OSError as error:
        raise StoreUnavailable(f"cannot read {error.filename}: {error.strerror}") from error
    tls = EtcdTls(read["ca"], read.get("cert"), read.get("key")) if read else None
    return EtcdStore(endpoints, root=parts.path.rstrip("/") or "/sampan", tls=tls)
