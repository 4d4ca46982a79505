"""Random trouble for real servers and receivers (support/torture.py); scripts/soak runs more of it."""

import os

import pytest

from support.server import clients_installed
from support.torture import Torture

SECONDS = float(os.environ.get("PGWEIR_TORTURE_SECONDS", "20"))


@pytest.mark.parametrize("options, slots, synchronous", [
    (["--compress", "zstd"], True, False),
    ([], False, True),
], ids=["zstd and slots", "synchronous"])
def test_random_trouble(place, seeded, options, slots, synchronous):
    if not clients_installed():
        pytest.skip("PostgreSQL 15 is not installed (scripts/setup)")
    torture = Torture(place, seeded.randrange(1 << 32), options=options, slots=slots,
                      synchronous=synchronous)
    try:
        torture.set_up()
        torture.run(SECONDS)
        assert torture.finish() > 0
    finally:
        torture.tear_down()
