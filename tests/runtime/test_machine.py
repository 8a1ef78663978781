"""What is known of the processor."""

from __future__ import annotations

import pytest

from cifar.runtime import machine


@pytest.mark.parametrize(("vendor", "flags", "is_fast"), [
    ("AuthenticAMD", "fpu avx512_bf16 avx512f", True),
    ("GenuineIntel", "fpu avx512_bf16 avx512f", False),
    ("GenuineIntel", "fpu avx512_bf16 amx_bf16", True),
    ("AuthenticAMD", "fpu avx512f", False),
])  # fmt: skip
def test_fast_bfloat16(monkeypatch, vendor, flags, is_fast):
    lines = ["processor\t: 0", f"vendor_id\t: {vendor}", f"flags\t\t: {flags}", "", "bugs\t:"]
    monkeypatch.setattr(machine, "_cpuinfo", lambda: lines)
    assert machine.has_fast_bfloat16() is is_fast
