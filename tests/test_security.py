"""What no file of the package does: run what is in data, or words in a shell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "volproc"
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "testing" not in p.parts)

FORBIDDEN = {
    "eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "cloudpickle.loads",
    "marshal.loads", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "joblib.load",
    "subprocess.getoutput", "Markup", "markupsafe.Markup",
}  # fmt: skip
"""Calls that run what they are given, or leave HTML as it is."""

TRUSTED = PACKAGE / "models" / "trusted.py"
"""The one module that loads what runs, behind ``--trust-model``."""


def calls(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Name and literal keywords of each call in a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            values = {
                k.arg: k.value.value if isinstance(k.value, ast.Constant) else None
                for k in node.keywords
                if k.arg
            }
            yield ast.unparse(node.func), values


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_that_is_read_is_run(path: Path) -> None:
    for name, values in calls(path):
        assert name not in FORBIDDEN, name
        assert values.get("shell") in (None, False), name
        if name.endswith(("np.load", "numpy.load")):
            assert values.get("allow_pickle") is False, name
        if name == "torch.load" and path != TRUSTED:
            assert values.get("weights_only") is True, name
        if name.startswith("torch.jit.") or values.get("weights_only") is False:
            assert path == TRUSTED, name


def test_templates_leave_no_text_unescaped() -> None:
    for path in PACKAGE.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "|safe" not in text.replace(" ", "")
        assert "autoescape false" not in text
