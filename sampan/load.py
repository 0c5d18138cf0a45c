"""`sampan load IMAGE`: makes an image known to the nodes. On one machine they share its Docker engine, so an image that
the engine has is there already, and an archive (docker save) is read in once. Nodes that are containers (`make cluster`)
have engines of their own: each is given the image.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound

from sampan.cluster_compose import load_into, running_nodes
from sampan.demo_checks import CheckError

HELP = "make an image known to the nodes: a name the engine has, or a `docker save` archive"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sampan load", description=HELP)
    parser.add_argument("image", help="name[:tag], or the path of an archive")
    parser.add_argument("--tag", default="", help="also give it this name")
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
        nodes = running_nodes()
        for node in nodes:
            load_into(node, *(image.tags or [str(image.id)]))
    except ImageNotFound:
        print(f"sampan load: the engine has no image {args.image}; build it or `docker pull` it", file=sys.stderr)
        return 1
    except (DockerException, CheckError, OSError) as error:
        print(f"sampan load: {error}", file=sys.stderr)
        return 1
    print(
        f"{image.short_id} is known as {', '.join(image.tags) or 'no name; give --tag'}{''.join(f', in {node}' for node in nodes)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
