# Scripts that need other programs' interpreters; nothing in them is a test.
collect_ignore_glob = ["record_*.py", "compare_*.py"]
