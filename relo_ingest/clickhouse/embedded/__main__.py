"""`python -m relo_ingest.clickhouse.embedded --data-dir D [--port P]`: the server by itself."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import serve
from .errors import StartError


def main() -> int:
    """Exit code of the process: 0 clean, 1 when it could not start."""
    parser = argparse.ArgumentParser(prog="relo-clickhouse", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--user", default="default")
    parser.add_argument("--password", default="")
    given = parser.parse_args()
    try:
        return serve(given.data_dir, host=given.host, port=given.port, user=given.user, password=given.password)
    except StartError as error:
        print(f"relo clickhouse: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
