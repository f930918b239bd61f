"""Starts the emulator, which ends with whoever holds the other end of its standard input.

The system ends that pipe when a test process dies, however it dies: no emulator is left behind.
`--alone` starts one that outlives its starter.
"""

import os
import sys
import threading


def end_with_starter():
    sys.stdin.buffer.read()
    os._exit(0)


alone = sys.argv[1:] == ["--alone"]
sys.argv = ["ministack"]
if not alone:
    threading.Thread(target=end_with_starter, daemon=True).start()

from ministack.app import main  # noqa: E402 (importing takes a while: the watch comes first)

main()
