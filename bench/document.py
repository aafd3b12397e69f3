"""docs/benchmarks.md has two parts, written by two benches: each writes its own and leaves the other as it stands.

# Benchmarks …                        bench/run.py: greenroom beside other servers
<!-- bench: runtime -->
## The actor runtime …                bench/runtime/run.py: the runtime beside other actor systems
"""

from pathlib import Path

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
RUNTIME_MARK = "<!-- bench: runtime -->"
FIRST_LINE = "# Benchmarks"


def write_servers(text: str, path: Path = DOCUMENT) -> Path:
    """Replace all above the mark."""
    _, runtime = _parts(path)
    return _write(path, text, runtime)


def write_runtime(text: str, path: Path = DOCUMENT) -> Path:
    """Replace all below the mark."""
    servers, _ = _parts(path)
    return _write(path, servers or FIRST_LINE, text)


def _parts(path: Path) -> tuple[str, str]:
    servers, _, runtime = (path.read_text("utf-8") if path.exists() else "").partition(RUNTIME_MARK)
    return servers.strip(), runtime.strip()


def _write(path: Path, servers: str, runtime: str) -> Path:
    parts = [servers.strip(), RUNTIME_MARK, runtime.strip()] if runtime else [servers.strip()]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n\n".join(parts) + "\n", "utf-8")
    return path
