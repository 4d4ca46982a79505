"""swift_launch.py DIRECTORY PROGRAM ARGUMENT...: a program of Swift, with its swift.conf in DIRECTORY instead of /etc."""

import runpy
import sys

from swift.common.utils import set_swift_dir

set_swift_dir(sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
