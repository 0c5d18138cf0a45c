"""`sampan load IMAGE`: makes an image known to the nodes. On one machine they share its Docker engine, so an image that
the engine has is there already, and an archive (docker save) is read in once. Nodes that are containers (`make cluster`)
have engines of their own: each node of one project is given the image.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import docker
from docker.errors import DockerException, ImageNotFound

from sampan.cluster_compose import PROJECT, load_into, running_nodes
from sampan.demo_checks import CheckError

HELP = "make an image known to the nodes: a name the engine has, or a `docker save` archive"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sampan load", description=HELP)
    parser.add_argument("image", help="name[:tag], or the path of an archive")
    parser.add_argument("--tag", default="", help="also give it this name")
    parser.add_argument(
        "--project", default="",
        help=f"the compose cluster that is given it (default: {PROJECT}, if it runs; $SAMPAN_PROJECT names another)",
    )  # fmt: skip
    args = parser.parse_args(argv)
    try:
        engine = docker.from_env()
        try:
            if Path(args.image).is_file():
                with Path(args.image).open("rb") as archive:
                    found = engine.images.load(archive)
                image = found[0]
            else:
                image = engine.images.get(args.image)
            if args.tag:
                repository, _, tag = args.tag.rpartition(":") if ":" in args.tag else (args.tag, "", "latest")
                image.tag(repository, tag=tag)
                image.reload()
        finally:
            engine.close()
        known = ", ".join(image.tags) or "no name; give --tag"
        print(f"{image.short_id} is known as {known}", flush=True)
        nodes = running_nodes(args.project or PROJECT)
        if args.project and not nodes:
            raise CheckError(
                f"no node of a compose cluster {args.project!r} runs here; `docker compose ls` has those that do"
            )
        for number, node in enumerate(nodes, 1):
            begun = monotonic()
            load_into(node, *(image.tags or [str(image.id)]))
            print(f"{node} has it after {monotonic() - begun:.1f} s ({number} of {len(nodes)})", flush=True)
    except ImageNotFound:
        print(f"sampan load: the engine has no image {args.image}; build it or `docker pull` it", file=sys.stderr)
        return 1
    except (DockerException, CheckError, OSError) as error:
        print(f"sampan load: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
