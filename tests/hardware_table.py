"""docs/hardware.md, from the table of extra specs and image properties. Run it to write the page."""

from __future__ import annotations

from pathlib import Path

from kilonova.wire.hardware_keys import KEYS, Key

FILE = Path(__file__).resolve().parent.parent / "docs" / "hardware.md"
HEAD = """# Hardware of guests

Made by `python tests/hardware_table.py` from `src/kilonova/wire/hardware_keys.py`; a test holds it against that.

A flavor's extra specs and an image's properties shape a guest. Each name that Nova knows stands in one of these tables:
it is realised, it only tells something, or it is refused when a server is created, rebuilt or resized (400, with the
reason). A name of these namespaces that does not stand here is refused too. From microversion 2.86 an extra spec is
checked when it is set. What an image says goes before what its flavor says, within the flavor's limits. Names of other
namespaces (`trait:`, `resources:`, `aggregate_instance_extra_specs:`, or none) choose the host, or are yours.

A server keeps the hardware that its flavor and image gave it until it is resized or rebuilt. A rescued server has its
own hardware.
"""


def render() -> str:
    """The page."""
    real = [key for key in KEYS if key.means]
    refused = [key for key in KEYS if not key.means]
    lines = [HEAD, "## Realised, or told\n", "| extra spec | image property | values | becomes |", "|---|---|---|---|"]
    lines += [f"| {_names(key)} | {key.values} | {key.means}{f'; {key.why}' if key.why else ''} |" for key in real]
    lines += ["\n## Refused\n", "| extra spec | image property | values | why |", "|---|---|---|---|"]
    lines += [f"| {_names(key)} | {key.values} | {key.why}{'; the usual value is taken' if key.fine else ''} |"
              for key in refused]  # fmt: skip
    return "\n".join(lines) + "\n"


def _names(key: Key) -> str:
    return " | ".join(f"`{name}`" if name else "" for name in (key.spec, key.property))


if __name__ == "__main__":
    FILE.write_text(render())
