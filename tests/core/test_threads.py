"""How many threads are granted, read from files and an environment that the tests write."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cellbrook.core import threads
from cellbrook.core.threads import CoreLimits, _cgroup_quota, available_cores, core_limits, resolve_threads
from cellbrook.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "self_cgroup"


def test_cgroup_v2_takes_the_tightest_level(tmp_path: Path, own: Path) -> None:
    own.write_text("0::/user.slice/job_7\n")
    write(tmp_path / "fs/cpu.max", "max 100000\n")
    write(tmp_path / "fs/user.slice/cpu.max", "150000 100000\n")
    write(tmp_path / "fs/user.slice/job_7/cpu.max", "400000 100000\n")
    assert _cgroup_quota(tmp_path / "fs", own) == 1.5


def test_cgroup_v2_in_a_container_that_shows_the_hosts_path(tmp_path: Path, own: Path) -> None:
    own.write_text("0::/docker/0123abc\n")
    write(tmp_path / "fs/cpu.max", "200000 100000\n")
    assert _cgroup_quota(tmp_path / "fs", own) == 2.0


def test_cgroup_v1(tmp_path: Path, own: Path) -> None:
    own.write_text("5:memory:/a\n4:cpu,cpuacct:/slurm/job\n0::/\n")
    group = tmp_path / "fs/cpu,cpuacct/slurm/job"
    write(group / "cpu.cfs_quota_us", "300000\n")
    write(group / "cpu.cfs_period_us", "100000\n")
    assert _cgroup_quota(tmp_path / "fs", own) == 3.0


def test_cgroup_v1_in_a_container_that_shows_the_hosts_path(tmp_path: Path, own: Path) -> None:
    own.write_text("4:cpu:/docker/0123abc\n")
    write(tmp_path / "fs/cpu/cpu.cfs_quota_us", "250000\n")
    write(tmp_path / "fs/cpu/cpu.cfs_period_us", "100000\n")
    assert _cgroup_quota(tmp_path / "fs", own) == 2.5


@pytest.mark.parametrize("text", ["max 100000\n", "-1 100000\n", "", "rubbish\n", "100000\n"])
def test_no_quota(tmp_path: Path, own: Path, text: str) -> None:
    own.write_text("0::/\n")
    write(tmp_path / "fs/cpu.max", text)
    assert _cgroup_quota(tmp_path / "fs", own) is None


def test_no_cgroups_at_all(tmp_path: Path, own: Path) -> None:
    assert _cgroup_quota(tmp_path / "fs", own) is None


def test_the_tightest_limit_counts_and_is_named() -> None:
    assert CoreLimits(64, 64, None, {}).allowed == 64
    assert CoreLimits(64, 64, None, {}).reason == "all cores of the machine"
    by_quota = CoreLimits(64, 16, 1.5, {"SLURM_CPUS_PER_TASK": 8})
    assert (by_quota.allowed, by_quota.reason) == (2, "cgroup quota of 1.5 cores")
    by_slurm = CoreLimits(64, 16, None, {"SLURM_CPUS_PER_TASK": 8})
    assert (by_slurm.allowed, by_slurm.reason) == (8, "SLURM_CPUS_PER_TASK=8")
    by_mask = CoreLimits(64, 4, None, {"OMP_NUM_THREADS": 8})
    assert (by_mask.allowed, by_mask.reason) == (4, "affinity mask of 4 cores")


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1,4")
    assert core_limits().environment == {"OMP_NUM_THREADS": 1}
    assert available_cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert core_limits().environment == {}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity mask")
def test_the_affinity_mask_is_honoured() -> None:
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{one}}})\n"
        "from cellbrook.core.threads import available_cores; print(available_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: 5)
    monkeypatch.setattr(threads, "_host_cores", lambda: 8)
    assert resolve_threads(None) == 5
    assert resolve_threads(3) == 3
    assert resolve_threads(7) == 7, "what is asked for wins over what was granted"
    assert resolve_threads(5000) == 8
    for wrong in (0, -1):
        with pytest.raises(UsageError, match="at least 1"):
            resolve_threads(wrong)


def test_numpys_blas_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TIFFFILE_NUM_THREADS", "ZARR_THREADING__MAX_WORKERS"):
        monkeypatch.setenv(name, "")  # so that what bind_pools sets is undone
    libraries = threads._blas_libraries()
    if not libraries:
        pytest.skip("NumPy's BLAS here is none whose threads can be set")
    getter = ctypes.CDLL(str(libraries[0])).scipy_openblas_get_num_threads64_
    before = getter()
    try:
        threads.bind_pools(1)
        assert getter() == 1
        assert os.environ["TIFFFILE_NUM_THREADS"] == "1"
    finally:
        threads._bind_blas(before)


def test_openmp_is_calmed_before_torch_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setitem(sys.modules, "torch", None)
    threads.calm_openmp()
    assert "OMP_WAIT_POLICY" not in os.environ
    monkeypatch.delitem(sys.modules, "torch")
    threads.calm_openmp()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    threads.calm_openmp()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
