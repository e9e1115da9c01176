from cellbrook.core.memory import free_memory


def write(tmp_path, files):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


MEMINFO = "MemTotal:       16000 kB\nMemAvailable:   8000 kB\nHugePages_Total:       0\n"


def test_what_the_system_says(tmp_path):
    assert free_memory(write(tmp_path, {"proc/meminfo": MEMINFO})) == 8000 * 1024


def test_a_share_of_a_container_counts_when_it_is_less(tmp_path):
    files = {
        "proc/meminfo": MEMINFO,
        "sys/fs/cgroup/memory.max": "5000000\n",
        "sys/fs/cgroup/memory.current": "3000000\n",
        "sys/fs/cgroup/memory.stat": "anon 1500000\ninactive_file 1000000\n",
    }
    assert free_memory(write(tmp_path, files)) == 3_000_000
    assert free_memory(write(tmp_path, {"sys/fs/cgroup/memory.max": "max\n"})) == 8000 * 1024
    older = "sys/fs/cgroup/memory/memory."
    older = {f"{older}limit_in_bytes": "900\n", f"{older}usage_in_bytes": "950\n"}
    assert free_memory(write(tmp_path, older)) == 0


def test_a_job_of_a_cluster_is_held_to_the_tightest_group_above_it(tmp_path):
    job = "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7"
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/system.slice/slurmstepd.scope/job_7/step_0\n",
        f"{job}/memory.max": "4000000\n",
        f"{job}/memory.current": "1000000\n",
        f"{job}/step_0/memory.max": "max\n",
        f"{job}/step_0/memory.current": "1000000\n",
    }
    assert free_memory(write(tmp_path, files)) == 3_000_000
    older = {
        "proc/self/cgroup": "5:memory:/slurm/uid_1/job_7\n",
        "sys/fs/cgroup/memory/slurm/uid_1/memory.limit_in_bytes": "2500000\n",
        "sys/fs/cgroup/memory/slurm/uid_1/memory.usage_in_bytes": "500000\n",
    }
    assert free_memory(write(tmp_path, older)) == 2_000_000


def test_this_system_has_some():
    assert free_memory() > 0
