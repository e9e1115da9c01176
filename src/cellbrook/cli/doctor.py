"""`cellbrook doctor`: what can run here, and how to mend what cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellbrook.cli._common import Json, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator


def doctor(*, json: Json = False) -> int:
    """Show what this installation can do, and the command that mends what is wrong.

    Looks at the machine, packages, engines, devices and models, and runs one tile through the shipped model.
    The exit code is 1 if something is broken; a missing optional part is no fault. Nothing is downloaded or
    changed.
    """
    from cellbrook.cli._diagnose import diagnose

    report = diagnose()
    if json:
        print_json(report)
    else:
        print("\n".join(_lines(report)))
    return 1 if report["problems"] else 0


def _lines(report: dict[str, Any]) -> Iterator[str]:
    system, cores, memory, auto = (report[k] for k in ("system", "cores", "memory", "auto"))
    yield f"Cellbrook {system['cellbrook']} in {system['location']}"
    yield f"Python    {system['python']} at {system['executable']}"
    yield f"System    {system['platform']}"
    yield f"Cores     {cores['allowed']} of {cores['host']} ({cores['reason']})"
    yield f"Memory    {_memory_line(memory)}"
    yield f"Packages  {', '.join(f'{n} {v}' for n, v in report['packages'].items() if v)}"
    yield f"Kernels   {'ok' if report['kernels']['ok'] else 'BROKEN'}"
    yield ""
    yield "Engines"
    for name, engine in report["engines"].items():
        yield f"  {name:12} {_engine_line(engine)}"
    for card in report["gpu"]["cards"]:
        yield f"  {'':12} {card}"
    if advice := report["gpu"].get("advice"):
        yield f"  note: {advice}"
    if auto["ok"]:
        where = f"{auto['engine']} on {auto['device']} in {auto['precision']}, {auto['threads']} thread(s)"
        yield f"  auto: {where}; starts in {auto['start_s']:.2f} s"
        yield f"        {auto['why']}"
    yield ""
    yield "Models"
    for model in report["models"]:
        state = f"{model['state']}, hash verified" if model["ok"] else f"{model['state']}, DAMAGED"
        yield f"  {model['name']:24} {state}, {model['licence']}"
    if not report["models"]:
        yield "  none"
    yield from (f"  note: {note}" for note in report["notes"])
    yield ""
    yield "Optional parts"
    for extra, facts in report["extras"].items():
        yield f"  {extra:12} {facts['version'] or 'not installed: ' + facts['install']}  ({facts['for']})"
    yield ""
    if not report["problems"]:
        yield "Nothing is wrong."
    for problem in report["problems"]:
        yield f"PROBLEM   {problem['what']}"
        yield f"  to mend: {problem['mend']}"


def _engine_line(engine: dict[str, Any]) -> str:
    if engine["state"] == "missing":
        return f"not installed: {engine['install']}"
    if engine["state"] == "broken":
        return "BROKEN, see below"
    return f"{engine['version']} on {', '.join(engine['devices']) or 'no device'}"


def _memory_line(memory: dict[str, int | None]) -> str:
    total, free, limit = (memory[k] for k in ("total_bytes", "available_bytes", "cgroup_limit_bytes"))
    parts = []
    if total:
        parts.append(f"{total / 1e9:.1f} GB")
    if free:
        parts.append(f"{free / 1e9:.1f} GB free")
    if limit and not (total and limit >= total):
        parts.append(f"limited to {limit / 1e9:.1f} GB by the cgroup")
    return ", ".join(parts) or "unknown"
