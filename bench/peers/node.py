"""``node.js`` beside this file: ``python -m bench.peers.node PORT``."""

import os
import shutil
import sys
from pathlib import Path

if __name__ == "__main__":
    program = shutil.which("node") or sys.exit("node is missing")
    script = Path(__file__).with_suffix(".js")
    os.execve(program, [program, str(script), sys.argv[1]], os.environ | {"NODE_ENV": "production"})
