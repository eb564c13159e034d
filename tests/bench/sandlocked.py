"""
Run a command under sandlock as the benchmark needs it: ``sandlocked.py COMMAND...``.

sandlock (PyPI) has no command line in its wheel. Loopback is open, the rest of the network
is shut; the files are open, as they are under the others.
"""

from __future__ import annotations

import sys

from sandlock import Sandbox


def main(command: list[str]) -> int:
    """Give the command's output and status."""
    sandbox = Sandbox(
        fs_readable=["/"],
        fs_writable=["/tmp", "/dev", "/var"],
        net_allow=["127.0.0.1:*"],
        net_allow_bind=["*"],
    )
    result = sandbox.run(command)
    sys.stdout.buffer.write(result.stdout)
    sys.stderr.buffer.write(result.stderr)
    print(result.error or "", file=sys.stderr)
    return int(result.exit_code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
